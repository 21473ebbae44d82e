// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Functions that cases share: they arm dispatch, handle SIGSYS, check values, and start child
//! processes and threads ([`tasks`]).
//!
//! While the selector is at BLOCK, a case may issue system calls only through gates and in the
//! allowed range. Allocation, formatting and the C library could issue a call outside the range,
//! which would be dispatched.

mod tasks;

pub(crate) use tasks::*;

use crate::arch::{self, Gate, Reg, Registers, UserContext};
use crate::case::{Check, Failure};
use crate::probe;
use crate::shared::{SigsysRecord, shared};
use crate::sys::{self, SigAction};
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// `SYSCALL_DISPATCH_FILTER_ALLOW` (include/uapi/linux/prctl.h).
pub(crate) const ALLOW: u8 = 0;
/// `SYSCALL_DISPATCH_FILTER_BLOCK`.
pub(crate) const BLOCK: u8 = 1;
/// A selector value that is neither ALLOW nor BLOCK, for which the kernel kills the process.
pub(crate) const INVALID: u8 = 2;

/// `PR_SYS_DISPATCH_OFF`
pub(crate) const MODE_OFF: u64 = 0;
/// `PR_SYS_DISPATCH_ON`, which is called `PR_SYS_DISPATCH_EXCLUSIVE_ON` since 6.17
pub(crate) const MODE_EXCLUSIVE: u64 = 1;
/// `PR_SYS_DISPATCH_INCLUSIVE_ON`
pub(crate) const MODE_INCLUSIVE: u64 = 2;

/// `si_code` of a dispatch, `SYS_USER_DISPATCH` (include/uapi/asm-generic/siginfo.h).
pub(crate) const SYS_USER_DISPATCH: i32 = 2;

/// The size of a page in bytes.
pub(crate) const PAGE_SIZE: usize = 4096;

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
    arm_with_selector(selector_address(&SELECTOR))
}

/// As [`arm`], with another selector.
pub(crate) fn arm_with_selector(selector: u64) -> Check {
    set_selector(ALLOW);
    expect_accepted(MODE_EXCLUSIVE, arch::inside().start, inside_length(), selector)
}

/// The length of the range [`arch::inside`] in bytes.
pub(crate) fn inside_length() -> u64 {
    let inside = arch::inside();
    inside.end - inside.start
}

/// Disarms, which the kernel must accept.
pub(crate) fn disarm() -> Check {
    expect_accepted(MODE_OFF, 0, 0, 0)
}

/// Sets the dispatch configuration, which the kernel must accept.
pub(crate) fn expect_accepted(mode: u64, offset: u64, length: u64, selector: u64) -> Check {
    set_dispatch_expecting(mode, offset, length, selector, Ok(()))
}

/// Tries to set the dispatch configuration, which the kernel must refuse with this error.
pub(crate) fn expect_refused(
    mode: u64,
    offset: u64,
    length: u64,
    selector: u64,
    errno: i32,
) -> Check {
    set_dispatch_expecting(mode, offset, length, selector, Err(sys::Errno(errno)))
}

/// Sets the dispatch configuration, and checks the result of the prctl(2).
fn set_dispatch_expecting(
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
    let describe = |result| match result {
        Ok(()) => "success".to_owned(),
        Err(error) => format!("{error}"),
    };
    let call = format!(
        "prctl({}, {mode:#x}, {offset:#x}, {length:#x}, {selector:#x})",
        sys::PR_SET_SYSCALL_USER_DISPATCH
    );
    Err(mismatch(format!("{call} = {}", describe(expected)), describe(result)))
}

/// The failure of a check whose promise the kernel broke.
pub(crate) fn mismatch(expected: impl Into<String>, got: impl Into<String>) -> Failure {
    Failure::Mismatch { expected: expected.into(), got: got.into() }
}

/// Converts an error in the preparation of a check to [`Failure::Broken`]. `what` names the step
/// that failed.
pub(crate) fn broken<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Broken(format!("{what}: {error}"))
}

/// Converts the error of a ptrace(2) request that the kernel must accept, such as a request of a stopped
/// tracee, to [`Failure::Mismatch`]. `request` names the request.
pub(crate) fn refused_request(request: &str) -> impl FnOnce(sys::Errno) -> Failure {
    move |error| mismatch(format!("{request}: success"), format!("{request}: {error}"))
}

/// Checks a condition. `expected` describes the condition; `got` describes the observation that breaks it.
pub(crate) fn ensure(holds: bool, expected: &str, got: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(mismatch(expected, got())) }
}

/// Checks that a value is the expected one. `what` names the value in the failure.
pub(crate) fn expect_equal<T: PartialEq + Debug>(what: &str, got: T, expected: T) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(mismatch(format!("{what}: {expected:?}"), format!("{what}: {got:?}")))
}

/// As [`expect_equal`], with the values in hexadecimal in the failure.
pub(crate) fn expect_equal_hex(what: &str, got: u64, expected: u64) -> Check {
    if got == expected {
        return Ok(());
    }
    Err(mismatch(format!("{what}: {expected:#x}"), format!("{what}: {got:#x}")))
}

/// The texts of [`log`], for the report of the case.
static LOGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Adds a text to the report of the case.
pub(crate) fn log(text: String) {
    if let Ok(mut logs) = LOGS.lock() {
        logs.push(text);
    }
}

/// Removes and returns the texts of [`log`].
pub(crate) fn take_logs() -> Vec<String> {
    LOGS.lock().map(|mut logs| std::mem::take(&mut *logs)).unwrap_or_default()
}

impl SigsysRecord {
    /// The 32-bit field at this byte offset of the siginfo.
    fn int_field(&self, offset: usize) -> i32 {
        i32::from_ne_bytes(std::array::from_fn(|i| self.info[offset + i]))
    }

    /// `si_signo`
    pub(crate) fn signal(&self) -> i32 {
        self.int_field(0)
    }

    /// `si_errno`
    pub(crate) fn errno(&self) -> i32 {
        self.int_field(4)
    }

    /// `si_code`
    pub(crate) fn code(&self) -> i32 {
        self.int_field(8)
    }

    /// `si_call_addr`
    pub(crate) fn call_address(&self) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|i| self.info[16 + i]))
    }

    /// `si_syscall`
    pub(crate) fn number(&self) -> i32 {
        self.int_field(24)
    }

    /// `si_arch`
    pub(crate) fn arch(&self) -> u32 {
        self.int_field(28).cast_unsigned()
    }
}

/// A dispatch that the SIGSYS handler passes to its [`HandlerBody`].
pub(crate) struct Dispatch<'a> {
    /// The number of dispatches before this one, since [`reset_dispatch_count`].
    pub(crate) index: u32,
    /// The signal frame, from which sigreturn restores the registers and the mask.
    pub(crate) frame: &'a mut UserContext,
}

/// The part of the SIGSYS handler that a case chooses: a function that the handler calls. The
/// selector may be at BLOCK when the function runs.
pub(crate) type HandlerBody = fn(Dispatch<'_>);

/// The address of the current [`HandlerBody`].
static HANDLER_BODY: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut UserContext) {
    let flags = arch::take_flags();
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (*info, &mut *frame) };
    let record = SigsysRecord {
        info,
        registers: frame.registers,
        flags,
        stack: arch::current_stack_pointer(),
        frame_mask: frame.mask,
    };
    let index = shared().record_sigsys(&record);
    let body = HANDLER_BODY.load(Ordering::SeqCst);
    // SAFETY: `handle_dispatches_with_restorer` stored a `HandlerBody` before it installed this
    // handler.
    let body = unsafe { std::mem::transmute::<usize, HandlerBody>(body) };
    body(Dispatch { index, frame });
}

extern "C" fn on_other_signal(_: i32, _: *const u8, _: *mut UserContext) {
    shared().other_signals.fetch_add(1, Ordering::SeqCst);
}

/// The address of the SIGSYS handler.
pub(crate) fn handler_address() -> u64 {
    on_sigsys as *const () as u64
}

/// Handler body: does nothing.
pub(crate) fn do_nothing(_: Dispatch<'_>) {}

/// Handler body: sets [`SELECTOR`] to ALLOW, so that a sigreturn outside the allowed range is
/// executed.
pub(crate) fn flip_to_allow(_: Dispatch<'_>) {
    set_selector(ALLOW);
}

/// Handler body: sets [`SELECTOR`] to ALLOW and makes the program issue the call again.
pub(crate) fn allow_and_reissue(dispatch: Dispatch<'_>) {
    set_selector(ALLOW);
    dispatch.frame.registers[Reg::INSTRUCTION_POINTER] -= arch::CALL_LENGTH;
}

/// Installs the handler of SIGSYS, which calls this body.
pub(crate) fn handle_dispatches(body: HandlerBody) -> Check {
    handle_dispatches_with(body, 0, 0)
}

/// As [`handle_dispatches`], with further `SA_*` flags and a mask for the handler.
pub(crate) fn handle_dispatches_with(body: HandlerBody, flags: i32, mask: u64) -> Check {
    handle_dispatches_with_restorer(body, flags, mask, arch::restorer())
}

/// As [`handle_dispatches_with`], with another restorer.
pub(crate) fn handle_dispatches_with_restorer(
    body: HandlerBody,
    flags: i32,
    mask: u64,
    restorer: u64,
) -> Check {
    HANDLER_BODY.store(body as usize, Ordering::SeqCst);
    install_handler(libc::SIGSYS, handler_address(), flags, mask, restorer)
}

/// Installs a handler of this signal that counts in
/// [`Shared::other_signals`](crate::shared::Shared::other_signals).
pub(crate) fn install_counting_handler(signal: i32) -> Check {
    install_handler(signal, on_other_signal as *const () as u64, 0, 0, arch::restorer())
}

/// Installs a handler of a signal. `flags` are further `SA_*` flags besides `SA_SIGINFO` and `SA_RESTORER`.
pub(crate) fn install_handler(
    signal: i32,
    handler: u64,
    flags: i32,
    mask: u64,
    restorer: u64,
) -> Check {
    let action = SigAction {
        handler,
        flags: u64::from((flags | libc::SA_SIGINFO).cast_unsigned()) | sys::SA_RESTORER,
        restorer,
        mask,
    };
    // SAFETY: both addresses are those of signal handlers.
    unsafe { sys::sigaction(signal, &action) }.map_err(broken("rt_sigaction"))
}

/// Sets the number of dispatches to 0.
pub(crate) fn reset_dispatch_count() {
    shared().dispatches.store(0, Ordering::SeqCst);
}

/// The number of dispatches since [`reset_dispatch_count`].
pub(crate) fn dispatch_count() -> u32 {
    shared().dispatches.load(Ordering::SeqCst)
}

/// Issues a call with [`SELECTOR`] at BLOCK, and sets the selector to ALLOW afterwards. Returns the
/// registers after the call.
pub(crate) fn issue_blocked(gate: &Gate, regs: &Registers) -> Registers {
    set_selector(BLOCK);
    let after = gate.issue(regs);
    set_selector(ALLOW);
    after
}

/// Issues a call with [`SELECTOR`] at BLOCK, and checks that it is dispatched once. Returns the
/// registers after the call and the record of the dispatch.
pub(crate) fn issue_dispatched(
    gate: &Gate,
    regs: &Registers,
) -> Result<(Registers, SigsysRecord), Failure> {
    reset_dispatch_count();
    let after = issue_blocked(gate, regs);
    expect_equal("SIGSYS handled for a blocked call", dispatch_count(), 1)?;
    Ok((after, first_sigsys_record()?))
}

/// The record of the first dispatch since [`reset_dispatch_count`].
pub(crate) fn first_sigsys_record() -> Result<SigsysRecord, Failure> {
    shared().sigsys_record(0).ok_or_else(|| mismatch("a dispatch is recorded", "no record"))
}

/// The umask that the call of [`fresh_umask_call`] sets.
pub(crate) const CHANGED_UMASK: u64 = 0o137;
/// The umask before the call of [`fresh_umask_call`].
pub(crate) const RESET_UMASK: u64 = 0o022;

/// Sets the umask to [`RESET_UMASK`], and returns the registers of a umask(2) call that sets it to
/// [`CHANGED_UMASK`]. Only this process sees the effect of the call.
pub(crate) fn fresh_umask_call() -> Registers {
    let _ = take_umask_effect();
    Registers::for_call(libc::SYS_umask.cast_unsigned(), [CHANGED_UMASK, 0, 0, 0, 0, 0])
}

/// The value of the result register before the call of [`fresh_umask_call`]. A dispatch must keep this
/// value.
pub(crate) fn result_register_at_umask_call() -> i64 {
    Registers::for_call(call_number(libc::SYS_umask), [CHANGED_UMASK, 0, 0, 0, 0, 0]).result()
}

/// Whether a dispatched call kept the result register. [`result_left_by_bug`] is accepted too, since the
/// case `registers/general-kept` checks for that bug.
pub(crate) fn is_result_kept(after: &Registers, at_call: &Registers) -> bool {
    is_result_value_kept(after.result(), at_call)
}

/// The value that the known bug `result-register-lost` leaves in the result register. `None` on
/// kernels without the bug, from 7.3 on.
pub(crate) fn result_left_by_bug() -> Option<i64> {
    arch::RESULT_AFTER_DISPATCH_BUG.filter(|_| probe::environment().release < (7, 3))
}

/// As [`is_result_kept`], for the value `result` of the result register.
pub(crate) fn is_result_value_kept(result: i64, at_call: &Registers) -> bool {
    result == at_call.result() || result_left_by_bug() == Some(result)
}

/// Checks the result register after a dispatched call of [`fresh_umask_call`].
pub(crate) fn expect_result_kept(when: &str, after: &Registers) -> Check {
    let expected = result_register_at_umask_call();
    ensure(
        after.result() == expected || result_left_by_bug() == Some(after.result()),
        &format!("result register {when}: {expected}"),
        || after.result().to_string(),
    )
}

/// Resets the umask. Returns whether the call of [`fresh_umask_call`] had changed it.
pub(crate) fn take_umask_effect() -> bool {
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_umask, &[RESET_UMASK]) == Ok(CHANGED_UMASK) }
}

/// Checks that a umask(2) call with [`SELECTOR`] at BLOCK is dispatched and has no effect.
pub(crate) fn expect_dispatched(gate: &Gate) -> Check {
    issue_dispatched(gate, &fresh_umask_call())?;
    ensure(!take_umask_effect(), "a dispatched call has no effect", || "it took effect".into())
}

/// Checks that a umask(2) call takes effect and is not dispatched. Does not change [`SELECTOR`].
pub(crate) fn expect_executed(gate: &Gate) -> Check {
    reset_dispatch_count();
    let regs = fresh_umask_call();
    let after = gate.issue(&regs);
    expect_umask_executed(after.result())
}

/// As [`expect_executed`], with the selector at BLOCK.
pub(crate) fn expect_executed_despite_block(gate: &Gate) -> Check {
    reset_dispatch_count();
    let regs = fresh_umask_call();
    let after = issue_blocked(gate, &regs);
    expect_umask_executed(after.result())
}

fn expect_umask_executed(result: i64) -> Check {
    expect_equal("SIGSYS handled for an allowed call", dispatch_count(), 0)?;
    ensure(take_umask_effect(), "an allowed call takes effect", || "it had none".into())?;
    expect_equal("result of an allowed call", result, RESET_UMASK.cast_signed())
}

/// The system call number that the kernel reads from this value of the number register: its low
/// [`arch::NUMBER_BITS`] bits.
pub(crate) fn number_read_by_kernel(register: u64) -> i32 {
    let number = register & (u64::MAX >> (64 - arch::NUMBER_BITS));
    (number as u32).cast_signed()
}

/// A system call number as the value of a register.
pub(crate) fn call_number(call: i64) -> u64 {
    call.cast_unsigned()
}

/// The id of the user and the group nobody.
pub(crate) const NOBODY: u64 = 65534;

/// Changes the process's user and group to nobody, who has no privileges.
pub(crate) fn become_nobody() -> sys::Result<u64> {
    // setresuid(2) makes the process undumpable. Then root would own its files in /proc, and it could
    // not trace its children.
    // SAFETY: takes no pointers.
    unsafe {
        sys::call(libc::SYS_setgroups, &[0, 0])?;
        sys::call(libc::SYS_setresgid, &[NOBODY, NOBODY, NOBODY])?;
        sys::call(libc::SYS_setresuid, &[NOBODY, NOBODY, NOBODY])?;
        sys::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0)
    }
}
