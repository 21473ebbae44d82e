// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Functions that cases share: arming, the handler of SIGSYS, checks of values, and child
//! processes ([`tasks`]).
//!
//! While the selector is at BLOCK, a case may issue system calls only through gates and in the allowed
//! range. Anything else (allocating, formatting, the C library) could issue a call outside the range, which
//! is dispatched.

mod tasks;

pub(crate) use tasks::*;

use crate::arch::{self, Context, Gate, Reg, Registers};
use crate::case::{Check, Failure};
use crate::probe;
use crate::shared::{SigsysRecord, shared};
use crate::sys::{self, Action};
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

/// The system call number that the kernel reads from this value of the number register.
pub(crate) fn number_read_by_kernel(register: u64) -> i32 {
    let number = register & (u64::MAX >> (64 - arch::NUMBER_BITS));
    (number as u32).cast_signed()
}

/// A system call number as the value of a register.
pub(crate) fn call_number(call: i64) -> u64 {
    call.cast_unsigned()
}
