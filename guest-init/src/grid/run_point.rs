// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs one point in the calling task: prepares signals and seccomp, sets the configuration, issues
//! the calls, and clears all state that the next point must not see.

use super::call;
use super::dimension::{Arming, Disposition, Pending, Point, Seccomp, Tracer};
use super::memory::ALTERNATE_STACK_SIZE;
use super::model::{FILTER_ERRNO, MAX_SIGSYS, REAL_TIME_SIGNAL, TRAP_ERRNO};
use super::observation::{Frame, Observation, Siginfo};
use super::shared_state::{memory, observe, shared_state};
use crate::arch::{self, Gate, Reg, Registers, UserContext};
use crate::filter::{self, statement};
use crate::shared::SigsysRecord;
use crate::sys::{self, SigAction};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// The selector that the handler of SIGSYS sets to ALLOW; null for none.
static HANDLER_SELECTOR: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());
/// The registers with which the current call was issued.
static CURRENT_CALL: AtomicPtr<Registers> = AtomicPtr::new(std::ptr::null_mut());
/// The number of SIGSYS handled since [`set_handler_selector`].
static HANDLED_COUNT: AtomicU32 = AtomicU32::new(0);

/// Makes the handler of SIGSYS set this selector to ALLOW, and resets the number of SIGSYS handled.
pub(super) fn set_handler_selector(selector: Option<&'static AtomicU8>) {
    let selector =
        selector.map_or(std::ptr::null_mut(), |byte| std::ptr::from_ref(byte).cast_mut());
    HANDLER_SELECTOR.store(selector, Ordering::SeqCst);
    HANDLED_COUNT.store(0, Ordering::SeqCst);
}

/// The registers of a getresuid(2) that writes to
/// [`SharedState::written_ids`](super::shared_state::SharedState::written_ids).
pub(super) fn getresuid_call() -> Registers {
    let [a, b, c] = memory().layout.id_addresses;
    Registers::for_call(libc::SYS_getresuid.cast_unsigned(), [a, b, c, 0, 0, 0])
}

/// A value that getresuid(2) does not write.
const UNWRITTEN_ID: u32 = 0xa5a5_a5a5;

/// Issues a call. Returns the registers after the call, and whether the call wrote the user ids.
pub(super) fn issue_call(gate: &Gate, registers: &Registers) -> (Registers, bool) {
    let ids = &shared_state().written_ids[..3];
    ids.iter().for_each(|word| word.store(UNWRITTEN_ID, Ordering::SeqCst));
    CURRENT_CALL.store(std::ptr::from_ref(registers).cast_mut(), Ordering::SeqCst);
    let after = gate.issue(registers);
    (after, ids.iter().all(|word| word.load(Ordering::SeqCst) != UNWRITTEN_ID))
}

/// Runs a point in the calling task.
///
/// # Errors
/// The error of a system call that prepares the point or clears its state.
pub(super) fn run_point(point: &Point) -> sys::Result<()> {
    let memory = memory();
    let layout = &memory.layout;
    let selector = memory.selector_bytes[point.selector() as usize];
    let set_selector = |value: u8| {
        if let Some(byte) = selector {
            byte.store(value, Ordering::SeqCst);
        }
    };
    set_selector(0);
    set_handler_selector(selector);
    prepare_signals(point)?;
    install_filter(point)?;
    let configure = |arguments: [u64; 4]| {
        let [mode, offset, length, selector] = arguments;
        let result = sys::set_dispatch(mode, offset, length, selector);
        observe(Observation::Set(result.map_or_else(|error| error.0, |()| 0)));
    };
    match point.arming() {
        Arming::Replaced => configure(call::earlier_configuration_arguments(layout)),
        Arming::AfterOff => {
            configure(call::earlier_configuration_arguments(layout));
            configure([0; 4]);
        }
        Arming::Once | Arming::Tracer => {}
    }
    if point.arming() != Arming::Tracer {
        configure(call::configuration_arguments(point, layout));
    }
    // From here on even system calls from inside may be dispatched.
    if point.tracer() != Tracer::None {
        shared_state().is_recording.store(1, Ordering::SeqCst);
        sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP)?;
    }
    if point.seccomp() == Seccomp::Strict {
        // SAFETY: changes the calling task only.
        unsafe { sys::prctl(libc::PR_SET_SECCOMP, 1, 0, 0, 0) }?;
    }
    let registers = call::call_registers(point, layout);
    let Some(gate) = layout.gate(point.gate()) else { return Ok(()) };
    for _ in 0..point.times().count() {
        set_selector(point.value());
        let (after, executed) = issue_call(&gate, &registers);
        set_selector(0);
        // A single step leaves TF in the flags, and the call instruction of x86-64 copies the flags to R11.
        let preserved = are_preserved(&after, &registers)
            && (point.tracer().single_steps()
                || has_permitted_clobbers(&after, &registers, gate.compared_address()));
        let result = Some(after[Reg::RESULT]);
        observe(Observation::Returned { result, preserved, executed });
    }
    if point.seccomp() == Seccomp::Strict {
        let shared = shared_state();
        shared.is_recording.store(0, Ordering::SeqCst);
        shared.records[shared.current_index()].is_complete.store(1, Ordering::SeqCst);
        // Strict mode allows exit(2), but not exit_group(2).
        loop {
            // SAFETY: ends the task.
            let _ = unsafe { sys::call(libc::SYS_exit, &[0]) };
        }
    }
    let (_, executed) = issue_call(&layout.next_gate(point.gate()), &getresuid_call());
    observe(Observation::NextCall { executed });
    sys::set_dispatch(0, 0, 0, 0)?;
    clear_signals(point)
}

/// Whether all registers that a call preserves are unchanged.
fn are_preserved(after: &Registers, before: &Registers) -> bool {
    let arguments = Reg::ARGUMENTS.into_iter().filter(|reg| *reg != Reg::RESULT);
    Reg::preserved_by_calls()
        .filter(|reg| *reg != Reg::Sp)
        .chain(arguments)
        .all(|reg| after[reg] == before[reg])
}

/// Whether the registers that the call instruction overwrites have permitted values.
fn has_permitted_clobbers(after: &Registers, before: &Registers, compared_address: u64) -> bool {
    let clobbered = Reg::CLOBBERED_BY_CALL.map(|reg| after[reg]);
    before.clobbered_values(compared_address).contains(&clobbered)
}

/// Blocks and raises the point's pending signal, and sets the alternate stack and the disposition of
/// SIGSYS.
fn prepare_signals(point: &Point) -> sys::Result<()> {
    let disposition = point.disposition();
    let raise = |signal: i32| sys::tgkill(sys::getpid(), sys::gettid(), signal);
    let mut blocked = 0;
    if matches!(disposition, Disposition::Blocked | Disposition::IgnoredBlocked) {
        blocked |= sys::signal_bit(libc::SIGSYS);
    }
    let pending = match point.pending() {
        Pending::None | Pending::NoneAtLimitZero => None,
        Pending::Sigusr1 => Some(libc::SIGUSR1),
        Pending::Sigsys => Some(libc::SIGSYS),
        Pending::Sigsegv => Some(libc::SIGSEGV),
        Pending::RealTimeSignal => Some(REAL_TIME_SIGNAL),
    };
    if let Some(signal) = pending {
        blocked |= sys::signal_bit(signal);
    }
    if blocked != 0 {
        sys::sigmask(libc::SIG_SETMASK, blocked)?;
    }
    if let Some(signal) = pending {
        match signal {
            libc::SIGSYS => set_disposition(Disposition::Handler)?,
            libc::SIGUSR1 | REAL_TIME_SIGNAL => {
                install_handler(signal, on_other_signal as *const () as u64, 0)?
            }
            _ => {}
        }
        raise(signal)?;
    }
    if point.pending() == Pending::NoneAtLimitZero {
        limit_pending_signals(0)?;
    }
    let [stack, read_only_stack] = memory().alternate_stacks;
    let stack_and_flags = match disposition {
        Disposition::OnStack => Some((stack, 0)),
        Disposition::AutoDisarm => Some((stack, SS_AUTODISARM)),
        Disposition::ReadOnlyStack => Some((read_only_stack, 0)),
        _ => None,
    };
    if let Some((stack, flags)) = stack_and_flags {
        // SAFETY: the stacks stay mapped. On the read-only stack the kernel cannot start a handler.
        unsafe { sys::sigaltstack(stack, ALTERNATE_STACK_SIZE as u64, flags) }?;
    }
    set_disposition(disposition)
}

/// `SS_AUTODISARM` (include/uapi/linux/signal.h).
const SS_AUTODISARM: i32 = i32::MIN;

/// Sets `RLIMIT_SIGPENDING`, the maximum number of queued signals of this user, to `limit` or the
/// hard limit.
fn limit_pending_signals(limit: u64) -> sys::Result<()> {
    let mut limits = [0u64; 2];
    let resource = u64::from(libc::RLIMIT_SIGPENDING);
    // SAFETY: reads and writes the two limits.
    unsafe {
        sys::call(libc::SYS_prlimit64, &[0, resource, 0, limits.as_mut_ptr() as u64])?;
        limits[0] = limit.min(limits[1]);
        sys::call(libc::SYS_prlimit64, &[0, resource, limits.as_ptr() as u64, 0])?;
    }
    Ok(())
}

/// Undoes [`prepare_signals`]: discards or handles pending signals, and resets mask and alternate
/// stack.
fn clear_signals(point: &Point) -> sys::Result<()> {
    match point.pending() {
        Pending::NoneAtLimitZero => limit_pending_signals(u64::MAX)?,
        // The disposition SIG_IGN discards a pending signal.
        Pending::Sigsys => install_handler(libc::SIGSYS, SIG_IGN, 0)?,
        Pending::Sigsegv => {
            install_handler(libc::SIGSEGV, SIG_IGN, 0)?;
            install_handler(libc::SIGSEGV, SIG_DFL, 0)?;
        }
        _ => {}
    }
    if point.pending() != Pending::None
        || matches!(point.disposition(), Disposition::Blocked | Disposition::IgnoredBlocked)
    {
        sys::sigmask(libc::SIG_SETMASK, 0)?;
    }
    if matches!(
        point.disposition(),
        Disposition::OnStack | Disposition::AutoDisarm | Disposition::ReadOnlyStack
    ) {
        // SAFETY: nothing runs on the alternate stack.
        unsafe { sys::sigaltstack(0, 0, libc::SS_DISABLE) }?;
    }
    Ok(())
}

/// Installs the point's seccomp filter, which recognises the call under test by its address.
fn install_filter(point: &Point) -> sys::Result<()> {
    let action = match point.seccomp() {
        Seccomp::None | Seccomp::Strict => return Ok(()),
        Seccomp::Allow => libc::SECCOMP_RET_ALLOW,
        Seccomp::Errno => libc::SECCOMP_RET_ERRNO | FILTER_ERRNO.cast_unsigned(),
        Seccomp::Trap => libc::SECCOMP_RET_TRAP | TRAP_ERRNO.cast_unsigned(),
        Seccomp::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let Some(gate) = memory().layout.gate(point.gate()) else { return Ok(()) };
    // Offset of the low half of `seccomp_data.instruction_pointer`.
    let offset = 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let low = u32::try_from(gate.compared_address() & 0xffff_ffff).unwrap_or(0);
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, low),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, 0).map(drop)
}

/// The addresses of the handlers of SIGSYS: with `SA_SIGINFO`, and without.
pub(super) fn handler_addresses() -> [u64; 2] {
    [on_sigsys as *const () as u64, on_sigsys_without_info as *const () as u64]
}

/// Sets the disposition of SIGSYS.
pub(super) fn set_disposition(disposition: Disposition) -> sys::Result<()> {
    let [handler, without_info] = handler_addresses();
    let (handler, flags) = match disposition {
        Disposition::Handler | Disposition::Blocked => (handler, 0),
        Disposition::OnStack | Disposition::ReadOnlyStack | Disposition::AutoDisarm => {
            (handler, libc::SA_ONSTACK)
        }
        Disposition::NoDefer => (handler, libc::SA_NODEFER),
        Disposition::ResetHand => (handler, libc::SA_RESETHAND),
        Disposition::Restart => (handler, libc::SA_RESTART),
        Disposition::NoSiginfo => (without_info, 0),
        Disposition::Ignored | Disposition::IgnoredBlocked => (SIG_IGN, 0),
        Disposition::Default => (SIG_DFL, 0),
    };
    let siginfo = if handler == without_info { 0 } else { libc::SA_SIGINFO };
    install_handler(libc::SIGSYS, handler, flags | siginfo)
}

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// Sets the disposition of a signal. `handler` is the address of a handler, [`SIG_DFL`] or [`SIG_IGN`].
fn install_handler(signal: i32, handler: u64, flags: i32) -> sys::Result<()> {
    let flags = u64::from(flags.cast_unsigned()) | sys::SA_RESTORER;
    let action = SigAction { handler, flags, restorer: arch::restorer(), mask: 0 };
    // SAFETY: the address is that of a handler, SIG_IGN or SIG_DFL.
    unsafe { sys::sigaction(signal, &action) }
}

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut UserContext) {
    let stack = arch::current_stack_pointer();
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (*info, &*frame) };
    let registers = frame.registers;
    let record = SigsysRecord { info, registers, flags: 0, stack, frame_mask: frame.mask };
    let alternate_stack = memory().alternate_stacks[0];
    let alternate_stack = alternate_stack..alternate_stack + ALTERNATE_STACK_SIZE as u64;
    // SAFETY: the registers of the call that `issue_call` makes, which live until the call returns.
    let call = unsafe { CURRENT_CALL.load(Ordering::SeqCst).as_ref() };
    let info = observed_siginfo(&record);
    let preserved = arch::inside().contains(&info.call_address)
        || call.is_some_and(|call| are_preserved(&registers, call));
    observe(Observation::Handled(Some(Frame {
        info: Siginfo { call_address: normalize_address(info.call_address), ..info },
        on_alternate_stack: alternate_stack.contains(&stack),
        result: registers[Reg::RESULT],
        instruction_pointer: normalize_address(registers[Reg::INSTRUCTION_POINTER]),
        preserved,
        mask: frame.mask,
    })));
    allow_next_call();
}

extern "C" fn on_sigsys_without_info(_: i32) {
    observe(Observation::Handled(None));
    allow_next_call();
}

/// Sets the selector to ALLOW, and faults at the [`MAX_SIGSYS`]th signal. Both handlers of SIGSYS
/// call this function last.
fn allow_next_call() {
    // SAFETY: the selector is a byte that stays mapped.
    if let Some(byte) = unsafe { HANDLER_SELECTOR.load(Ordering::SeqCst).as_ref() } {
        byte.store(0, Ordering::SeqCst);
    }
    if HANDLED_COUNT.fetch_add(1, Ordering::SeqCst) + 1 >= MAX_SIGSYS {
        // SAFETY: the address is never mapped, so the read ends the process, as intended.
        unsafe { std::ptr::without_provenance::<u8>(8).read_volatile() };
    }
}

extern "C" fn on_other_signal(signal: i32) {
    observe(Observation::OtherSignal(signal));
}

/// The address that observations have in place of `address`: for an address inside, the start of
/// [`arch::inside`].
pub(super) fn normalize_address(address: u64) -> u64 {
    let inside = arch::inside();
    if inside.contains(&address) { inside.start } else { address }
}

/// The fields of the siginfo of a SIGSYS that observations contain.
pub(super) fn observed_siginfo(record: &SigsysRecord) -> Siginfo {
    let code = record.code();
    // SYS_SECCOMP, SYS_USER_DISPATCH.
    if !matches!(code, 1 | 2) {
        return Siginfo { code, ..Siginfo::default() };
    }
    Siginfo {
        code,
        errno: record.errno(),
        number: record.number(),
        arch: record.arch(),
        call_address: record.call_address(),
    }
}
