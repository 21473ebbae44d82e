// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Signal frames of which the kernel can write, or read back, a part only. The program is told by SIGSEGV.

use super::fast::map_low;
use crate::arch::{self, Reg, Registers, USER_CS, USER_DS, USER32_CS, UserContext};
use crate::case::{Check, Failure};
use crate::probe;
use crate::support::*;
use crate::sys::{self, SigAction};
use std::arch::asm;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sudbox_protocol::Feature;

/// The length of the alternate stack for the handler of SIGSEGV, in pages.
const STACK_PAGES: usize = 16;

/// Registers in an order that atomics can hold.
type Values = [AtomicU64; Reg::ALL.len()];

/// The registers with which [`on_signal`] lets the program go on.
static PROGRAM: Values = [const { AtomicU64::new(0) }; Reg::ALL.len()];
/// The registers in the frame of the last signal that [`on_signal`] handled.
static SEEN: Values = [const { AtomicU64::new(0) }; Reg::ALL.len()];
/// The siginfo of that signal.
static SIGINFO: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];
/// The mask in that frame.
static MASK: AtomicU64 = AtomicU64::new(0);
/// The stack segment in that frame.
static STACK_SEGMENT: AtomicU64 = AtomicU64::new(0);
/// The number of signals that [`on_signal`] handled.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// Whether [`return_by_frame`] could not prepare its return.
static IS_UNPREPARED: AtomicBool = AtomicBool::new(false);

fn store(target: &[AtomicU64], values: &[u64]) {
    for (word, value) in target.iter().zip(values) {
        word.store(*value, Ordering::SeqCst);
    }
}

fn load<const N: usize>(source: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|i| source[i].load(Ordering::SeqCst))
}

/// A handler that records its signal, and lets the program go on with [`PROGRAM`], if that is set.
extern "C" fn on_signal(_: i32, info: *const [u64; 16], frame: *mut UserContext) {
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (&*info, &mut *frame) };
    store(&SIGINFO, info);
    store(&SEEN, &frame.registers.values());
    MASK.store(frame.mask, Ordering::SeqCst);
    STACK_SEGMENT.store(frame.stack_segment().into(), Ordering::SeqCst);
    COUNT.fetch_add(1, Ordering::SeqCst);
    let program = Registers::from_values(load(&PROGRAM));
    if program[Reg::Ip] != 0 {
        frame.registers = program;
        frame.mask = 0;
        frame.set_code_segment(USER_CS);
        frame.set_stack_segment(USER_DS);
    }
}

/// Forgets the signals that [`on_signal`] handled.
fn forget_signals() {
    store(&PROGRAM, &[0; Reg::ALL.len()]);
    COUNT.store(0, Ordering::SeqCst);
    reset_dispatch_count();
}

/// The signal that the program must be told of, with registers in its frame.
#[derive(Clone)]
struct Told {
    signal: i32,
    /// The mask in its frame, if that does not depend on how much of a frame could be read.
    mask: Option<u64>,
    /// Some registers in the frame.
    registers: Vec<(Reg, u64)>,
}

/// Checks that [`on_signal`] handled this signal and no other. If it is SIGSEGV, its siginfo must be that of
/// `force_sig()`.
fn expect_told(what: &str, told: &Told) -> Check {
    let mask = MASK.load(Ordering::SeqCst);
    expect_equal(&format!("signals handled, {what}"), COUNT.load(Ordering::SeqCst), 1)?;
    let words = load(&SIGINFO);
    let [signal, errno] = [words[0], words[0] >> 32].map(|word| word & 0xffff_ffff);
    expect_equal(&format!("signal, {what}"), signal, u64::from(told.signal.cast_unsigned()))?;
    if told.signal == libc::SIGSEGV {
        expect_equal(&format!("si_errno, {what}"), errno, 0)?;
        let code = u64::from(libc::SI_KERNEL.cast_unsigned());
        expect_equal_hex(&format!("si_code, {what}"), words[1], code)?;
        expect_equal(&format!("rest of the siginfo, {what}"), &words[2..], &[0; 14])?;
    }
    if let Some(expected) = told.mask {
        expect_equal_hex(&format!("mask in the frame, {what}"), mask, expected)?;
    }
    let seen = Registers::from_values(load(&SEEN));
    // The registers are not those of a frame that was read only in part.
    ensure(seen[Reg::Ip] != 0, &format!("a next instruction, {what}"), || "0".into())?;
    for (reg, value) in &told.registers {
        expect_equal_hex(&format!("{reg:?} in the frame, {what}"), seen[*reg], *value)?;
    }
    Ok(())
}

/// PKRU. The CPU must have protection keys.
fn protection_keys() -> u32 {
    let value: u32;
    // SAFETY: the CPU has the instruction, and the kernel has enabled it.
    unsafe { asm!("rdpkru", in("ecx") 0, out("eax") value, out("edx") _) };
    value
}

/// A format of frames, and the handler that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handler {
    Native,
    /// A 32-bit handler with or without `SA_SIGINFO`.
    Compat {
        has_siginfo: bool,
    },
}

impl Handler {
    /// All handlers that the kernel supports.
    fn all() -> Vec<Handler> {
        let mut all = vec![Handler::Native];
        if probe::environment().features.contains(&Feature::Ia32) {
            all.extend([true, false].map(|has_siginfo| Handler::Compat { has_siginfo }));
        }
        all
    }

    /// Installs a handler of SIGSYS that runs on the alternate stack.
    fn install(self) -> Check {
        match self {
            Handler::Native => handle_dispatches_with(do_nothing, libc::SA_ONSTACK, 0),
            Handler::Compat { has_siginfo } => {
                let siginfo = if has_siginfo { libc::SA_SIGINFO } else { 0 };
                let flags = libc::SA_ONSTACK | siginfo;
                match arch::install_compat_recording_handler(libc::SIGSYS, flags, 0) {
                    true => Ok(()),
                    false => Err(Failure::Broken("a 32-bit handler".into())),
                }
            }
        }
    }
}

/// The step in which the boundary moves through the part of a frame with the floating point state.
const WIDE_STEP: u64 = 512;
/// The step in which it moves through the rest.
const STEP: u64 = 128;
/// The length of the rest, rounded up: 440 bytes in the longest format, and the state of `fsave`.
const REST_LENGTH: u64 = 640;

/// Makes a call whose frame cannot be written, and checks that the program is told.
fn expect_delivery_refused(what: &str) -> Check {
    forget_signals();
    let got = issue_blocked(&arch::gate(), &fresh_umask_call());
    let expected = Told {
        signal: libc::SIGSEGV,
        mask: Some(0),
        registers: vec![
            (Reg::Ip, arch::gate().compared_address()),
            (Reg::Sp, got[Reg::Sp]),
            (Reg::RESULT, libc::SYS_umask.cast_unsigned()),
        ],
    };
    expect_told(what, &expected)?;
    expect_equal(&format!("SIGSYS handled, {what}"), dispatch_count(), 0)?;
    expect_result_kept(what, &got)?;
    expect_equal(&format!("effect, {what}"), take_umask_effect(), false)
}

/// The number of pages of each half of [`SplitStack`].
const HALF: usize = 2;

/// An alternate stack for SIGSYS, of which one half can be made read-only.
struct SplitStack {
    start: u64,
    /// The length of a 64-bit frame with its floating point state.
    frame_length: u64,
}

/// Handler body: stores the address of the frame in shared word 0.
fn store_frame_address(dispatch: Dispatch<'_>) {
    // The context follows the address of the restorer.
    set_shared_word(0, std::ptr::from_ref(dispatch.frame) as u64 - 8);
}

impl SplitStack {
    /// Arms the task, installs [`on_signal`] for SIGSEGV, and measures a frame.
    fn new() -> Result<SplitStack, Failure> {
        install_handler(libc::SIGSEGV, on_signal as *const () as u64, 0, 0, arch::restorer())?;
        arm()?;
        let mut stack =
            SplitStack { start: map_low(2 * HALF * PAGE_SIZE)? as u64, frame_length: 0 };
        stack.end_at(stack.end())?;
        handle_dispatches_with(store_frame_address, libc::SA_ONSTACK, 0)?;
        issue_dispatched(&arch::gate(), &fresh_umask_call())?;
        stack.frame_length = stack.end().saturating_sub(shared_word(0));
        Ok(stack)
    }

    fn boundary(&self) -> u64 {
        self.start + (HALF * PAGE_SIZE) as u64
    }

    fn end(&self) -> u64 {
        self.start + (2 * HALF * PAGE_SIZE) as u64
    }

    /// Makes this address the end of the stack, where the next frame is.
    fn end_at(&self, end: u64) -> Check {
        // SAFETY: nothing else uses the stack.
        unsafe { sys::sigaltstack(self.start, end - self.start, 0) }.map_err(broken("sigaltstack"))
    }

    /// Changes the protection of one half.
    fn protect(&self, half: Half, protection: i32) -> Check {
        let start = if half == Half::Lower { self.start } else { self.boundary() };
        protect(start as *mut u8, HALF, protection)
    }
}

/// A half of [`SplitStack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Lower,
    Upper,
}

/// `get_sigframe()`, `x64_setup_rt_frame()`, `ia32_setup_frame()` and `ia32_setup_rt_frame()`.
pub(crate) fn unwritable() -> Check {
    let stack = SplitStack::new()?;
    let handlers = Handler::all();
    if handlers.len() > 1 {
        arch::map_compat_code().map_err(broken("mapping 32-bit code"))?;
    }
    for handler in handlers {
        handler.install()?;
        // 32-bit frames are up to 64 bytes shorter, with their alignment.
        let length = match handler {
            Handler::Native => stack.frame_length,
            Handler::Compat { .. } => stack.frame_length - STEP,
        };
        for half in [Half::Upper, Half::Lower] {
            stack.protect(half, libc::PROT_READ)?;
            let mut above = STEP;
            while above < length {
                stack.end_at(stack.boundary() + above)?;
                expect_delivery_refused(&format!(
                    "{handler:?}, {half:?} half read-only, {above} bytes above the boundary"
                ))?;
                above += if above + REST_LENGTH + WIDE_STEP < length { WIDE_STEP } else { STEP };
            }
            stack.protect(half, libc::PROT_READ | libc::PROT_WRITE)?;
        }
    }
    stack.end_at(stack.end())?;
    // x86-64 has no return code of its own for handlers.
    let action = SigAction {
        handler: handler_address(),
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()),
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: the address is that of a handler.
    unsafe { sys::sigaction(libc::SIGSYS, &action) }.map_err(broken("rt_sigaction"))?;
    expect_delivery_refused("a handler without SA_RESTORER")
}

/// `sig_prepare_pkru()` permits access by all keys, so that the frame can be written.
pub(crate) fn keys_kept() -> Check {
    let stack = SplitStack::new()?;
    Handler::Native.install()?;
    for (half, above) in [(Half::Upper, STEP), (Half::Lower, stack.frame_length - STEP)] {
        stack.protect(half, libc::PROT_READ)?;
        stack.end_at(stack.boundary() + above)?;
        let before = protection_keys();
        let refused = expect_delivery_refused(&format!("{half:?} half read-only"));
        let after = protection_keys();
        stack.protect(half, libc::PROT_READ | libc::PROT_WRITE)?;
        refused?;
        let what = format!("PKRU after a frame whose {half:?} part cannot be written");
        expect_equal_hex(&what, after.into(), before.into())?;
    }
    Ok(())
}

/// The format of the frame that a sigreturn reads, with the offsets of its parts (`arch/x86/include/asm/
/// sigframe.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Return {
    /// `struct rt_sigframe`.
    Native,
    /// `struct sigframe_ia32`.
    Compat,
    /// `struct rt_sigframe_ia32`.
    CompatRt,
}

/// The length of the longest frame, rounded up.
const LENGTH: usize = 768;
/// The address at which a handcrafted 32-bit frame continues: one that is never mapped.
const NOWHERE: u32 = 0x1000;
/// The address at which the kernel reads its table of interrupts (`CPU_ENTRY_AREA_RO_IDT`, arch/x86/include/asm/
/// cpu_entry_area.h).
const INTERRUPT_TABLE: u64 = 0xffff_fe00_0000_0000;
/// A handcrafted frame.
type Bytes = [u8; LENGTH];

impl Return {
    /// The offsets at which the page boundary splits the frame so that the part above, or that below, cannot be
    /// left out.
    fn splits(self) -> (Vec<u64>, Vec<u64>) {
        match self {
            Return::Native => ((16..=304).step_by(48).collect(), (16..=304).step_by(48).collect()),
            Return::Compat => (vec![8, 48, 96, 400, 720], vec![16, 48, 92, 400, 724]),
            Return::CompatRt => (vec![152, 160, 200, 252, 256], vec![156, 164, 168, 208, 256]),
        }
    }

    /// The distance from the start of the frame to the stack pointer of the sigreturn.
    fn stack_offset(self) -> u64 {
        match self {
            Return::Native | Return::Compat => 8,
            Return::CompatRt => 4,
        }
    }

    /// A frame with this result's register. The native one is that of the handler, else the frame continues at
    /// [`NOWHERE`], and has this address of its floating point state.
    fn frame(self, context: &UserContext, result: u64, floating: u32) -> Bytes {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, word: &[u8]| bytes[at..at + word.len()].copy_from_slice(word);
        let registers = match self {
            Return::Native => {
                put(8, context.as_bytes());
                put(8 + 40 + 8 * Reg::RESULT as usize, &result.to_ne_bytes());
                return bytes;
            }
            // struct sigcontext_32.
            Return::Compat => 8,
            Return::CompatRt => 164,
        };
        put(registers + 44, &result.to_ne_bytes()[..4]);
        put(registers + 56, &NOWHERE.to_ne_bytes());
        put(registers + 60, &u32::from(USER32_CS).to_ne_bytes());
        put(registers + 64, &0x202u32.to_ne_bytes());
        put(registers + 72, &u32::from(USER_DS).to_ne_bytes());
        put(registers + 76, &floating.to_ne_bytes());
        bytes
    }

    /// Returns from a handler by the frame before this stack pointer.
    ///
    /// # Safety
    /// A handler of the signal that follows must let the program go on.
    unsafe fn leave(self, stack: u64) -> ! {
        // SAFETY: by the contract of this function.
        unsafe {
            match self {
                Return::Native => {
                    let number = libc::SYS_rt_sigreturn;
                    asm!("mov rsp, {}", "syscall", "ud2", in(reg) stack, in("rax") number,
                         options(noreturn))
                }
                Return::Compat => {
                    asm!("mov rsp, {}", "int 0x80", "ud2", in(reg) stack, in("rax") 119,
                         options(noreturn))
                }
                Return::CompatRt => {
                    asm!("mov rsp, {}", "int 0x80", "ud2", in(reg) stack, in("rax") 173,
                         options(noreturn))
                }
            }
        }
    }
}

/// The way in which [`return_by_frame`] returns.
struct Trial {
    format: Return,
    /// The address of the frame.
    place: u64,
    /// The value of the result's register in the frame.
    result: u64,
    /// The pages that cannot be read at the return.
    hidden: Option<u64>,
    /// Changes the handler's own frame before it is copied.
    edit: fn(&mut UserContext),
    /// The address of the floating point state in a 32-bit frame.
    floating: u32,
    /// Whether SIGUSR1 is pending, and the frame unblocks it.
    is_signal_pending: bool,
}

/// The address of the current [`Trial`].
static TRIAL: AtomicU64 = AtomicU64::new(0);

/// Handler body: returns by a frame that the current [`Trial`] describes.
fn return_by_frame(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    // SAFETY: `expect_return` keeps the trial until the program goes on.
    let trial = unsafe { &*(TRIAL.load(Ordering::SeqCst) as *const Trial) };
    store(&PROGRAM, &dispatch.frame.registers.values());
    (trial.edit)(dispatch.frame);
    if trial.is_signal_pending {
        let is_pending = sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(libc::SIGUSR1)).is_ok()
            && sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1).is_ok();
        IS_UNPREPARED.fetch_or(!is_pending, Ordering::SeqCst);
    }
    if trial.place < arch::KERNEL_ADDRESS {
        let bytes = trial.format.frame(dispatch.frame, trial.result, trial.floating);
        // SAFETY: pages of this case; a native frame is shorter than the others.
        unsafe { (trial.place as *mut [u8; LENGTH]).write_unaligned(bytes) };
    }
    if let Some(start) = trial.hidden {
        let is_hidden = protect(start as *mut u8, 2, libc::PROT_NONE).is_ok();
        IS_UNPREPARED.fetch_or(!is_hidden, Ordering::SeqCst);
    }
    // SAFETY: `expect_return` has installed `on_signal`.
    unsafe { trial.format.leave(trial.place + trial.format.stack_offset()) }
}

/// `ARCH_SET_FS` (arch/x86/include/uapi/asm/prctl.h).
const ARCH_SET_FS: u64 = 0x1002;

/// The base of FS.
fn thread_pointer() -> Result<u64, Failure> {
    let mut base = 0u64;
    // SAFETY: writes the base.
    unsafe { sys::call(libc::SYS_arch_prctl, &[arch::GET_THREAD_POINTER, &raw mut base as u64]) }
        .map_err(broken("arch_prctl"))?;
    Ok(base)
}

/// Sets the base of FS to what it was.
fn set_thread_pointer(base: u64) -> Check {
    // SAFETY: the base of this task.
    unsafe { sys::call(libc::SYS_arch_prctl, &[ARCH_SET_FS, base]) }
        .map(drop)
        .map_err(broken("arch_prctl"))
}

/// Returns from a handler as the trial describes. Checks that the program is told this, or that it goes on.
fn expect_return(what: &str, trial: &Trial, told: Option<&Told>) -> Check {
    forget_signals();
    TRIAL.store(std::ptr::from_ref(trial) as u64, Ordering::SeqCst);
    let base = thread_pointer()?;
    let got = issue_blocked(&arch::gate(), &fresh_umask_call());
    // Kernels without fixup_rpl(), such as 6.1, clear the base at a return by a 32-bit frame.
    set_thread_pointer(base)?;
    if let Some(start) = trial.hidden {
        protect(start as *mut u8, 2, libc::PROT_READ | libc::PROT_WRITE)?;
    }
    let _ = sys::sigmask(libc::SIG_SETMASK, 0);
    if IS_UNPREPARED.load(Ordering::SeqCst) {
        return Err(Failure::Broken(format!("preparing the return, {what}")));
    }
    expect_equal(&format!("SIGSYS handled, {what}"), dispatch_count(), 1)?;
    match told {
        Some(told) => expect_told(what, told)?,
        None => {
            expect_equal(&format!("signals handled, {what}"), COUNT.load(Ordering::SeqCst), 0)?;
        }
    }
    expect_result_kept(what, &got)?;
    expect_equal(&format!("effect, {what}"), take_umask_effect(), false)
}

/// `rt_sigreturn()`, `sys32_sigreturn()` and `sys32_rt_sigreturn()`.
pub(crate) fn unreadable() -> Check {
    for signal in [libc::SIGSEGV, libc::SIGUSR1] {
        let handler = on_signal as *const () as u64;
        install_handler(signal, handler, libc::SA_ONSTACK, 0, arch::restorer())?;
    }
    handle_dispatches(return_by_frame)?;
    let stack = map_pages(STACK_PAGES)? as u64;
    // SAFETY: nothing else uses the stack.
    unsafe { sys::sigaltstack(stack, (STACK_PAGES * PAGE_SIZE) as u64, 0) }
        .map_err(broken("sigaltstack"))?;
    arm()?;
    let start = map_low(4 * PAGE_SIZE)? as u64;
    let boundary = start + 2 * PAGE_SIZE as u64;
    // The call returns 0 if it is refused.
    let refused = Told { signal: libc::SIGSEGV, mask: None, registers: vec![(Reg::RESULT, 0)] };
    let trial = |format, place| Trial {
        format,
        place,
        result: libc::SYS_umask.cast_unsigned(),
        hidden: None,
        edit: |_| {},
        floating: 0,
        is_signal_pending: false,
    };
    let has_compat = probe::environment().features.contains(&Feature::Ia32);
    let formats = [Return::Native, Return::Compat, Return::CompatRt];
    for format in formats.into_iter().filter(|format| *format == Return::Native || has_compat) {
        let (above, below) = format.splits();
        let upper = above.into_iter().map(|offset| (offset, boundary));
        let lower = below.into_iter().map(|offset| (offset, start));
        for (offset, hidden) in upper.chain(lower) {
            let part = if hidden == start { "lower" } else { "upper" };
            let what = format!("{format:?}, split at {offset}, the {part} part hidden");
            let trial = Trial { hidden: Some(hidden), ..trial(format, boundary - offset) };
            expect_return(&what, &trial, Some(&refused))?;
        }
        // Nothing of a frame in the kernel's half is read, whether that could be read or not.
        for place in [arch::KERNEL_ADDRESS, INTERRUPT_TABLE] {
            let what = format!("{format:?} at {place:#x}");
            let told = Told { mask: Some(sys::signal_bit(libc::SIGSYS)), ..refused.clone() };
            expect_return(&what, &trial(format, place), Some(&told))?;
        }
        if format != Return::Native {
            let what = format!("{format:?} with floating point state that cannot be read");
            let trial = Trial { floating: NOWHERE, ..trial(format, start) };
            expect_return(&what, &trial, Some(&refused))?;
        }
        // A return is no call that restarts, whatever its result.
        for code in [512i64, 513, 514, 516] {
            let result = match format {
                Return::Native => (-code).cast_unsigned(),
                _ => (-code).cast_unsigned() & 0xffff_ffff,
            };
            let is_signal_pending = true;
            let trial = Trial { result, is_signal_pending, ..trial(format, start) };
            let next = match format {
                Return::Native => arch::gate().compared_address(),
                _ => NOWHERE.into(),
            };
            let registers = vec![(Reg::RESULT, result), (Reg::Ip, next)];
            let told = Told { signal: libc::SIGUSR1, mask: Some(0), registers };
            expect_return(&format!("{format:?} with result -{code}"), &trial, Some(&told))?;
        }
    }
    let native = trial(Return::Native, start);
    let edit = |context: &mut UserContext| context.set_floating_address(arch::KERNEL_ADDRESS);
    expect_return(
        "a kernel address of the floating point state",
        &Trial { edit, ..native },
        Some(&refused),
    )?;
    stack_segments(&trial(Return::Native, start))
}

/// `force_valid_ss()`: a return with a stack segment that cannot be loaded fails, unless the frame does not
/// ask for exactly that segment. The handler of the SIGSEGV begins with a valid one.
fn stack_segments(native: &Trial) -> Check {
    let edit = |context: &mut UserContext| context.set_stack_segment(0);
    let told = Told {
        signal: libc::SIGSEGV,
        mask: Some(0),
        registers: vec![
            (Reg::RESULT, libc::SYS_umask.cast_unsigned()),
            (Reg::Ip, arch::gate().compared_address()),
        ],
    };
    expect_return("an invalid stack segment", &Trial { edit, ..*native }, Some(&told))?;
    let segment = STACK_SEGMENT.load(Ordering::SeqCst);
    // The kernel sets the privilege level of what it returns with.
    expect_equal_hex("stack segment in the frame of SIGSEGV", segment, 3)?;
    let edit = |context: &mut UserContext| {
        context.set_stack_segment(0);
        context.clear_strict_restore_ss();
    };
    expect_return("an invalid stack segment that may be replaced", &Trial { edit, ..*native }, None)
}
