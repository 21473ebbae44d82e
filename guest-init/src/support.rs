// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Functions that cases share: arming, the handler of SIGSYS, child processes, and checks of values.
//!
//! While the selector is at BLOCK, a case may issue system calls only through gates and in the allowed
//! range. Anything else (allocating, formatting, the C library) could issue a call outside the range, which
//! is dispatched.

use crate::arch::{self, Context, Gate, Reg, Registers};
use crate::case::{Check, Failure};
use crate::probe;
use crate::shared::{SigsysRecord, shared};
use crate::sys::{self, Action, Change};
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// `SYSCALL_DISPATCH_FILTER_ALLOW` (include/uapi/linux/prctl.h).
pub(crate) const ALLOW: u8 = 0;
/// `SYSCALL_DISPATCH_FILTER_BLOCK`.
pub(crate) const BLOCK: u8 = 1;

/// `PR_SYS_DISPATCH_OFF`
pub(crate) const OFF: u64 = 0;
/// `PR_SYS_DISPATCH_ON`, which is called `PR_SYS_DISPATCH_EXCLUSIVE_ON` since 6.17
pub(crate) const EXCLUSIVE: u64 = 1;
/// `PR_SYS_DISPATCH_INCLUSIVE_ON`
pub(crate) const INCLUSIVE: u64 = 2;

/// `si_code` of a dispatch, `SYS_USER_DISPATCH` (include/uapi/asm-generic/siginfo.h).
pub(crate) const USER_DISPATCH: i32 = 2;

/// The size of a page in bytes.
pub(crate) const PAGE: usize = 4096;

/// The selector of most cases. A forked child has its own copy.
pub(crate) static SELECTOR: AtomicU8 = AtomicU8::new(ALLOW);

/// The address of a selector, as prctl(2) takes it.
pub(crate) fn selector_address(selector: &AtomicU8) -> u64 {
    std::ptr::from_ref(selector) as u64
}

/// Sets [`SELECTOR`].
pub(crate) fn set_selector(value: u8) {
    SELECTOR.store(value, Ordering::SeqCst);
}

/// Arms exclusive mode with [`arch::inside`] as the allowed range, and [`SELECTOR`] at ALLOW.
pub(crate) fn arm() -> Check {
    arm_with(selector_address(&SELECTOR))
}

/// As [`arm`], with another selector.
pub(crate) fn arm_with(selector: u64) -> Check {
    set_selector(ALLOW);
    expect_accepted(EXCLUSIVE, arch::inside().start, inside_length(), selector)
}

/// The length of the range [`arch::inside`] in bytes.
pub(crate) fn inside_length() -> u64 {
    let inside = arch::inside();
    inside.end - inside.start
}

/// Disarms, which the kernel must accept.
pub(crate) fn disarm() -> Check {
    expect_accepted(OFF, 0, 0, 0)
}

/// Arms or disarms, which the kernel must accept.
pub(crate) fn expect_accepted(mode: u64, offset: u64, length: u64, selector: u64) -> Check {
    set_expecting(mode, offset, length, selector, Ok(()))
}

/// Arms or disarms, which the kernel must refuse with this error.
pub(crate) fn expect_refused(
    mode: u64,
    offset: u64,
    length: u64,
    selector: u64,
    errno: i32,
) -> Check {
    set_expecting(mode, offset, length, selector, Err(sys::Errno(errno)))
}

/// Arms or disarms, which must give this result.
fn set_expecting(
    mode: u64,
    offset: u64,
    length: u64,
    selector: u64,
    expected: sys::Result<()>,
) -> Check {
    let result = sys::set_dispatch(mode, offset, length, selector);
    if result == expected {
        return Ok(());
    }
    let text = |result| match result {
        Ok(()) => "success".to_owned(),
        Err(error) => format!("{error}"),
    };
    let call = format!("prctl(59, {mode:#x}, {offset:#x}, {length:#x}, {selector:#x})");
    Err(mismatch(format!("{call} = {}", text(expected)), text(result)))
}

/// The failure of a check whose promise the kernel broke.
pub(crate) fn mismatch(expected: impl Into<String>, got: impl Into<String>) -> Failure {
    Failure::Mismatch { expected: expected.into(), got: got.into() }
}

/// Converts an error during the preparation of a check to [`Failure::Broken`].
pub(crate) fn broken<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Broken(format!("{what}: {error}"))
}

/// Checks a condition; `got` describes what was observed instead of `expected`.
pub(crate) fn ensure(holds: bool, expected: &str, got: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(mismatch(expected, got())) }
}

/// Checks that a value is the expected one. `what` names the value.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(mismatch(format!("{what}: {expected:?}"), format!("{what}: {got:?}")))
}

/// As [`equal`], with the values in hexadecimal in the failure.
pub(crate) fn equal_hex(what: &str, got: u64, expected: u64) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(mismatch(format!("{what}: {expected:#x}"), format!("{what}: {got:#x}")))
}

/// The texts of [`log`].
static LOGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Adds a text to the report of the case.
pub(crate) fn log(text: String) {
    if let Ok(mut logs) = LOGS.lock() {
        logs.push(text);
    }
}

/// Takes the texts so far.
pub(crate) fn take_logs() -> Vec<String> {
    LOGS.lock().map(|mut logs| std::mem::take(&mut *logs)).unwrap_or_default()
}

impl SigsysRecord {
    fn field(&self, at: usize) -> i32 {
        i32::from_ne_bytes(std::array::from_fn(|i| self.info[at + i]))
    }

    /// `si_signo`
    pub(crate) fn signal(&self) -> i32 {
        self.field(0)
    }

    /// `si_errno`
    pub(crate) fn errno(&self) -> i32 {
        self.field(4)
    }

    /// `si_code`
    pub(crate) fn code(&self) -> i32 {
        self.field(8)
    }

    /// `si_call_addr`
    pub(crate) fn call_address(&self) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|i| self.info[16 + i]))
    }

    /// `si_syscall`
    pub(crate) fn number(&self) -> i32 {
        self.field(24)
    }

    /// `si_arch`
    pub(crate) fn arch(&self) -> u32 {
        self.field(28).cast_unsigned()
    }
}

/// The argument of a reaction: a dispatch.
pub(crate) struct Dispatch<'a> {
    /// The number of dispatches before this one, since [`reset_dispatches`].
    pub(crate) index: u32,
    /// The signal frame, which the handler's return restores.
    pub(crate) frame: &'a mut Context,
}

/// A function that the handler of SIGSYS calls. The selector may be at BLOCK.
pub(crate) type Reaction = fn(Dispatch<'_>);

/// The address of the current reaction.
static REACTION: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut Context) {
    let flags = arch::current_flags();
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (*info, &mut *frame) };
    let seen = SigsysRecord {
        info,
        registers: frame.registers,
        flags,
        stack: arch::current_stack(),
        frame_mask: frame.mask,
    };
    let index = shared().record(&seen);
    let reaction = REACTION.load(Ordering::SeqCst);
    // SAFETY: a `Reaction` was stored there before the handler was installed.
    let reaction = unsafe { std::mem::transmute::<usize, Reaction>(reaction) };
    reaction(Dispatch { index, frame });
}

extern "C" fn on_other_signal(_: i32, _: *const u8, _: *mut Context) {
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
}

/// The address of the handler of SIGSYS.
pub(crate) fn handler_address() -> u64 {
    on_sigsys as *const () as u64
}

/// Reaction: does nothing.
pub(crate) fn noop(_: Dispatch<'_>) {}

/// Reaction: sets [`SELECTOR`] to ALLOW, so that a sigreturn outside the allowed range is executed.
pub(crate) fn flip_to_allow(_: Dispatch<'_>) {
    set_selector(ALLOW);
}

/// Reaction: sets ALLOW and makes the program issue the call again.
pub(crate) fn reissue(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    dispatch.frame.registers[Reg::NEXT] -= arch::CALL_LENGTH;
}

/// Installs the handler of SIGSYS with this reaction.
pub(crate) fn handle(reaction: Reaction) -> Check {
    handle_as(reaction, 0, 0)
}

/// As [`handle`], with further `SA_*` flags and a mask for the handler.
pub(crate) fn handle_as(reaction: Reaction, flags: i32, mask: u64) -> Check {
    handle_with_restorer(reaction, flags, mask, arch::restorer())
}

/// As [`handle_as`], with another restorer.
pub(crate) fn handle_with_restorer(
    reaction: Reaction,
    flags: i32,
    mask: u64,
    restorer: u64,
) -> Check {
    REACTION.store(reaction as usize, Ordering::SeqCst);
    install_with(libc::SIGSYS, handler_address(), flags, mask, restorer)
}

/// Counts this signal in [`Shared::other_signals`](crate::shared::Shared::other_signals).
pub(crate) fn count_signal(signal: i32) -> Check {
    install_with(signal, on_other_signal as *const () as u64, 0, 0, arch::restorer())
}

fn install_with(signal: i32, handler: u64, flags: i32, mask: u64, restorer: u64) -> Check {
    let action = Action {
        handler,
        flags: u64::from((flags | libc::SA_SIGINFO).cast_unsigned()) | sys::SA_RESTORER,
        restorer,
        mask,
    };
    // SAFETY: both addresses are those of signal handlers.
    unsafe { sys::sigaction(signal, &action) }.map_err(broken("rt_sigaction"))
}

/// Resets the number of dispatches.
pub(crate) fn reset_dispatches() {
    shared().dispatches.store(0, Ordering::SeqCst);
}

/// The number of dispatches since [`reset_dispatches`].
pub(crate) fn dispatches() -> u32 {
    shared().dispatches.load(Ordering::SeqCst)
}

/// Issues a call with [`SELECTOR`] at BLOCK, and sets it to ALLOW afterwards.
pub(crate) fn issue_blocked(gate: &Gate, regs: &Registers) -> Registers {
    set_selector(BLOCK);
    let after = gate.issue(regs);
    set_selector(ALLOW);
    after
}

/// Issues a call with [`SELECTOR`] at BLOCK, and checks that it is dispatched once. Returns the registers
/// after it and the record of the dispatch.
pub(crate) fn issue_dispatched(
    gate: &Gate,
    regs: &Registers,
) -> Result<(Registers, SigsysRecord), Failure> {
    reset_dispatches();
    let after = issue_blocked(gate, regs);
    equal("SIGSYS handled for a blocked call", dispatches(), 1)?;
    let seen =
        shared().sigsys_record(0).ok_or_else(|| Failure::Broken("nothing recorded".into()))?;
    Ok((after, seen))
}

/// The umask that a [`touch`] sets.
const TOUCHED: u64 = 0o137;
/// The umask before a [`touch`].
const UNTOUCHED: u64 = 0o022;

/// Resets the umask and returns the registers of a *touch*: a umask(2) call, whose effect only this process
/// sees.
pub(crate) fn touch() -> Registers {
    let _ = take_touched();
    Registers::call(libc::SYS_umask.cast_unsigned(), [TOUCHED, 0, 0, 0, 0, 0])
}

/// The value of the result register before a [`touch`], which a dispatch must keep.
pub(crate) fn result_before_touch() -> i64 {
    Registers::call(call_number(libc::SYS_umask), [TOUCHED, 0, 0, 0, 0, 0]).result()
}

/// Whether a dispatched call kept the result register. The value that a known kernel bug leaves is accepted
/// too, since the case `registers/general-kept` checks for that bug.
pub(crate) fn is_result_kept(got: &Registers, at_call: &Registers) -> bool {
    is_result_value_kept(got.result(), at_call)
}

/// The value that the known bug `result-register-lost` leaves in the result register. `None` on kernels
/// without the bug, from 7.3 on.
pub(crate) fn result_left_by_bug() -> Option<i64> {
    arch::RESULT_AFTER_DISPATCH_BUG.filter(|_| probe::machine().release < (7, 3))
}

/// As [`is_result_kept`], for the value of the result register.
pub(crate) fn is_result_value_kept(result: i64, at_call: &Registers) -> bool {
    result == at_call.result() || result_left_by_bug() == Some(result)
}

/// Checks the result register after a dispatched [`touch`].
pub(crate) fn expect_result_kept(when: &str, got: &Registers) -> Check {
    let expected = result_before_touch();
    ensure(
        got.result() == expected || result_left_by_bug() == Some(got.result()),
        &format!("result register {when}: {expected}"),
        || got.result().to_string(),
    )
}

/// Whether a [`touch`] took effect since the last call of this function. Resets the umask.
pub(crate) fn take_touched() -> bool {
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_umask, &[UNTOUCHED]) == Ok(TOUCHED) }
}

/// Checks that a touch is dispatched and has no effect.
pub(crate) fn expect_dispatched(gate: &Gate) -> Check {
    issue_dispatched(gate, &touch())?;
    ensure(!take_touched(), "a dispatched call has no effect", || "it took effect".into())
}

/// Checks that a touch, with [`SELECTOR`] as it is, takes effect and is not dispatched.
pub(crate) fn expect_executed(gate: &Gate) -> Check {
    reset_dispatches();
    let regs = touch();
    let after = gate.issue(&regs);
    expect_touch_executed(after.result())
}

/// As [`expect_executed`], with the selector at BLOCK.
pub(crate) fn expect_executed_despite_block(gate: &Gate) -> Check {
    reset_dispatches();
    let regs = touch();
    let after = issue_blocked(gate, &regs);
    expect_touch_executed(after.result())
}

fn expect_touch_executed(result: i64) -> Check {
    equal("SIGSYS handled for an allowed call", dispatches(), 0)?;
    ensure(take_touched(), "an allowed call takes effect", || "it had none".into())?;
    equal("result of an allowed call", result, UNTOUCHED.cast_signed())
}

/// Runs a function in a child and gives the child's end. The result of the function is the exit code.
///
/// The child shares this process's memory on a separate stack, and this process waits, as with vfork(2). In
/// an emulated machine this takes an eighth of the time of a fork, as no memory is copied. The child has its
/// own signal dispositions, mask and dispatch configuration. The selector is shared, and is set to ALLOW
/// afterwards.
pub(crate) fn run_vforked<F: FnOnce() -> i32>(run: F) -> Result<Change, Failure> {
    extern "C" fn enter<F: FnOnce() -> i32>(slot: u64) -> u64 {
        // SAFETY: the parent passes the address of a live value, and waits.
        let slot = unsafe { &mut *(slot as *mut Option<F>) };
        sys::exit(slot.take().map_or(97, |run| run()))
    }
    let mut slot = Some(run);
    let stack = prepare_task_stack(enter::<F>, &raw mut slot as u64)?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let arguments = [u64::from(flags.cast_unsigned()), stack, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    let child = sys::split(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) });
    set_selector(ALLOW);
    let child = child.map_err(broken("clone"))?;
    wait_change(i32::try_from(child).map_err(broken("clone"))?)
}

/// Forks a child that runs a function and exits with its result. Returns the child's process id.
pub(crate) fn spawn_child(run: impl FnOnce() -> i32) -> Result<i32, Failure> {
    // SAFETY: cases that fork have one thread, or a child that takes no locks.
    match unsafe { sys::fork() }.map_err(broken("fork"))? {
        0 => {
            // SAFETY: takes no pointers.
            let _ = unsafe { sys::prctl(libc::PR_SET_PDEATHSIG, 9, 0, 0, 0) };
            sys::exit(run())
        }
        child => Ok(child),
    }
}

/// Waits until a child ends or, if it is traced, stops.
pub(crate) fn wait_change(child: i32) -> Result<Change, Failure> {
    let waited = sys::wait(child, libc::__WALL).map_err(broken("wait4"))?;
    waited.map(|(_, change)| change).ok_or_else(|| Failure::Broken("wait4 gave nothing".into()))
}

/// Checks that a child exited with 0.
pub(crate) fn expect_success(change: Change) -> Check {
    equal("the child", change.to_string(), Change::Exited(0).to_string())
}

/// Checks that a child was killed by this signal, after exactly `handled` dispatches were handled and no
/// other signal was.
pub(crate) fn expect_killed(change: Change, signal: i32, handled: u32) -> Check {
    ensure(
        matches!(change, Change::Killed { signal: killer, .. } if killer == signal),
        &format!("the process is killed by {}", sys::signal_name(signal)),
        || format!("it {change}"),
    )?;
    equal("handlers of SIGSYS run", dispatches(), handled)?;
    equal("handlers of other signals run", shared().other_signals.load(Ordering::SeqCst), 0)
}

/// The exit code for a child's success or failure: 0 for true, 1 for false.
pub(crate) fn exit_code(success: bool) -> i32 {
    i32::from(!success)
}

/// Maps zeroed pages.
pub(crate) fn map_pages(count: usize) -> Result<*mut u8, Failure> {
    sys::map(count * PAGE, false).map_err(broken("mmap"))
}

/// Changes the protection of pages from [`map_pages`].
pub(crate) fn protect(start: *mut u8, count: usize, protection: i32) -> Check {
    // SAFETY: cases pass pages that nothing else uses.
    unsafe { sys::protect(start, count * PAGE, protection) }.map_err(broken("mprotect"))
}

/// Waits until another task sets a mark to this value. Marks are words of
/// [`Shared`](crate::shared::Shared).
pub(crate) fn await_mark(mark: usize, value: u64) {
    while shared().marks[mark].load(Ordering::SeqCst) != value {
        sys::sched_yield();
    }
}

/// Sets a mark.
pub(crate) fn set_mark(mark: usize, value: u64) {
    shared().marks[mark].store(value, Ordering::SeqCst);
}

/// The value of a mark.
pub(crate) fn mark(mark: usize) -> u64 {
    shared().marks[mark].load(Ordering::SeqCst)
}

/// The system call number that the kernel reads from this value of the number register.
pub(crate) fn number_read_by_kernel(register: u64) -> i32 {
    let number = register & (u64::MAX >> (64 - arch::NUMBER_BITS));
    (number as u32).cast_signed()
}

/// A system call number as the value of a register.
pub(crate) fn call_number(call: i64) -> u64 {
    call.cast_unsigned()
}

/// Maps the stack of a task that shares this process's memory, and prepares it to call `run`. Returns the
/// first stack pointer. The stack is never freed, since nothing reports when the task has left it.
pub(crate) fn prepare_task_stack(
    run: extern "C" fn(u64) -> u64,
    argument: u64,
) -> Result<u64, Failure> {
    const PAGES: usize = 16;
    // SAFETY: newly mapped, and zeroed.
    let stack = unsafe { std::slice::from_raw_parts_mut(map_pages(PAGES)?, PAGES * PAGE) };
    Ok(arch::prepare_stack(stack, run, argument))
}

/// Starts a thread without the C library. The thread shares its creator's thread-local storage, so it must
/// neither allocate nor panic.
pub(crate) fn spawn_thread(run: extern "C" fn(u64) -> u64, argument: u64) -> Result<u64, Failure> {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM;
    let arguments = [u64::from(flags.cast_unsigned()), prepare_task_stack(run, argument)?, 0, 0];
    // SAFETY: the stack is prepared and stays mapped.
    sys::split(unsafe { arch::spawn(call_number(libc::SYS_clone), arguments) })
        .map_err(broken("clone"))
}
