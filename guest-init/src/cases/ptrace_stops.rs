// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers to a tracer's requests about calls and signals, at each kind of stop of an armed program.
//!
//! The answers are compared with what they must be. A comparison of two stops does not see a fault that both
//! have.

use super::seccomp::{filter_umask, umask_call};
use crate::arch::{self, Registers};
use crate::case::{Case, Check, case};
use crate::ptrace::{self, CALL_STOP, PEEK_SIGINFO, request};
use crate::support::*;
use crate::sys::{self, Errno, WaitStatus};
use crate::tracee::{Tracee, pause_for_tracer};
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[case(
    "ptrace/stops-told",
    "at the stops of an armed program for a dispatch, for an allowed call, for a filter and for SIGSTOP, \
     PTRACE_GET_SYSCALL_INFO tells the call, and PTRACE_PEEKSIGINFO and PTRACE_GETSIGINFO tell the signals",
    "ptrace_get_syscall_info()",
    stops_told,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

const CONT: u32 = libc::PTRACE_CONT;
const SYSCALL: u32 = libc::PTRACE_SYSCALL;
/// The event of a stop for a filter (include/uapi/linux/ptrace.h).
const PTRACE_EVENT_SECCOMP: i32 = 7;

/// Signals that are blocked and queued to the task, in this order.
const TASK_SIGNALS: [i32; 2] = [44, 42];
/// The signal that is blocked and queued to the process.
const PROCESS_SIGNAL: i32 = 43;
/// The data that the filter gives to the tracer.
const FILTER_DATA: u32 = 0x1234;
/// The mask that umask(2) returns.
const PREVIOUS_UMASK: u64 = 0o137;
/// The arguments of the close(2) that fails.
const CLOSE_ARGUMENTS: [u64; 6] = [u64::MAX, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666];

/// A siginfo of the kind `SI_QUEUE`, whose value is the signal's number times a thousand.
fn queued_siginfo(signal: i32) -> [u8; 128] {
    const SI_QUEUE: i32 = -1;
    let mut info = [0; 128];
    for (at, value) in [(0, signal), (8, SI_QUEUE), (24, 1000 * signal)] {
        info[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    info
}

/// Blocks the signals and queues them to this process. Returns whether this succeeded.
fn queue_signals() -> bool {
    let signals = [TASK_SIGNALS[0], TASK_SIGNALS[1], PROCESS_SIGNAL];
    let mask = signals.into_iter().map(sys::signal_bit).fold(0, |all, bit| all | bit);
    let id = u64::from(sys::getpid().cast_unsigned());
    let queue = |signal: i32| {
        let info = queued_siginfo(signal);
        let (number, info) = (u64::from(signal.cast_unsigned()), info.as_ptr() as u64);
        // SAFETY: reads the siginfo.
        unsafe {
            if signal == PROCESS_SIGNAL {
                sys::call(libc::SYS_rt_sigqueueinfo, &[id, number, info])
            } else {
                sys::call(libc::SYS_rt_tgsigqueueinfo, &[id, id, number, info])
            }
        }
    };
    sys::sigmask(libc::SIG_BLOCK, mask).is_ok() && signals.into_iter().all(|s| queue(s).is_ok())
}

fn start_program() -> Result<Tracee, crate::case::Failure> {
    handle_dispatches(do_nothing)?;
    Tracee::start(|| {
        let close = Registers::for_call(call_number(libc::SYS_close), CLOSE_ARGUMENTS);
        // SAFETY: takes no pointers.
        let set_umask = unsafe { sys::call(libc::SYS_umask, &[PREVIOUS_UMASK]) };
        if set_umask.is_err() || !queue_signals() || arm().is_err() {
            return 99;
        }
        pause_for_tracer();
        let _ = issue_blocked(&arch::gate(), &umask_call());
        let failed = arch::gate().issue(&close).result() == -i64::from(libc::EBADF);
        if filter_umask(libc::SECCOMP_RET_TRACE | FILTER_DATA).is_err() {
            return 98;
        }
        let done = arch::gate().issue(&umask_call()).result() == PREVIOUS_UMASK.cast_signed();
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
        exit_code(failed && done)
    })
}

/// The request's answer: the length that it tells, and the bytes, of which `room` may be written.
fn call_info(tracee: &Tracee, room: u64) -> (sys::Result<u64>, [u8; 128]) {
    let mut info = [0xee; 128];
    let length = tracee.request(libc::PTRACE_GET_SYSCALL_INFO, room, info.as_mut_ptr() as u64);
    (length, info)
}

/// Checks the answer to `PTRACE_GET_SYSCALL_INFO`: the kind of stop, the architecture, the next instruction,
/// and the bytes after them, which are `rest`.
fn expect_call_info(stop: &str, tracee: &Tracee, kind: u8, rest: &[u8]) -> Check {
    const HEADER_LENGTH: usize = 24;
    let length = HEADER_LENGTH + rest.len();
    let (told, info) = call_info(tracee, 128);
    expect_equal(&format!("length of the syscall info at {stop}"), told, Ok(length as u64))?;
    expect_equal(&format!("kind of stop at {stop}"), info[0], kind)?;
    let arch = u32::from_ne_bytes(std::array::from_fn(|at| info[4 + at]));
    expect_equal_hex(&format!("architecture at {stop}"), arch.into(), arch::AUDIT_ARCH.into())?;
    let next = u64::from_ne_bytes(std::array::from_fn(|at| info[8 + at]));
    let expected = tracee.registers()?.instruction_pointer;
    expect_equal_hex(&format!("next instruction at {stop}"), next, expected)?;
    expect_equal(&format!("what follows at {stop}"), &info[HEADER_LENGTH..length], rest)?;
    expect_equal(&format!("bytes behind it at {stop}"), info[length], 0xee)?;
    let (told, info) = call_info(tracee, 8);
    expect_equal(&format!("length without room at {stop}"), told, Ok(length as u64))?;
    expect_equal(&format!("bytes without room at {stop}"), info[8], 0xee)
}

/// The bytes about a call at its entry: the number and six arguments.
fn entry_bytes(number: i64, arguments: [u64; 6]) -> Vec<u8> {
    let number = number.to_ne_bytes().into_iter();
    number.chain(arguments.into_iter().flat_map(u64::to_ne_bytes)).collect()
}

/// The bytes about a call at its exit: the result, and whether it is an error.
fn exit_bytes(result: i64, is_error: bool) -> Vec<u8> {
    result.to_ne_bytes().into_iter().chain([u8::from(is_error)]).collect()
}

/// Asks for up to `count` signals of a queue, from `offset` on. Returns the answer and the signals' siginfo.
fn peek(tracee: &Tracee, offset: u64, flags: u32, count: i32) -> (sys::Result<u64>, Vec<u8>) {
    // struct ptrace_peeksiginfo_args.
    let mut arguments = [0u8; 16];
    arguments[..8].copy_from_slice(&offset.to_ne_bytes());
    arguments[8..12].copy_from_slice(&flags.to_ne_bytes());
    arguments[12..].copy_from_slice(&count.to_ne_bytes());
    let mut queued = [0u8; 4 * 128];
    let answer =
        tracee.request(PEEK_SIGINFO, arguments.as_ptr() as u64, queued.as_mut_ptr() as u64);
    let length = queued.len() - queued.iter().rev().take_while(|byte| **byte == 0).count();
    (answer, queued[..length.next_multiple_of(128)].to_vec())
}

/// Checks the signals that `PTRACE_PEEKSIGINFO` finds in the queues, and what it refuses.
fn expect_queues(tracee: &Tracee) -> Check {
    const SHARED: u32 = 1;
    let infos =
        |signals: &[i32]| signals.iter().copied().flat_map(queued_siginfo).collect::<Vec<_>>();
    let [first, second] = TASK_SIGNALS;
    for (what, (offset, flags, count), signals) in [
        ("the task's queue", (0, 0, 4), &[first, second][..]),
        ("the first in the task's queue", (0, 0, 1), &[first]),
        ("the task's queue from the second on", (1, 0, 4), &[second]),
        ("none of the task's queue", (0, 0, 0), &[]),
        ("the task's queue beyond its end", (2, 0, 4), &[]),
        ("the process's queue", (0, SHARED, 4), &[PROCESS_SIGNAL]),
    ] {
        let expected = (Ok(signals.len() as u64), infos(signals));
        expect_equal(what, peek(tracee, offset, flags, count), expected)?;
    }
    let invalid = (Err(Errno(libc::EINVAL)), Vec::new());
    expect_equal("a negative number of signals", peek(tracee, 0, 0, -1), invalid.clone())?;
    expect_equal("an unknown flag", peek(tracee, 0, 2, 4), invalid)?;
    let fault = Err(Errno(libc::EFAULT));
    let arguments: [u64; 2] = [0, 1 << 32];
    let nowhere = arch::KERNEL_ADDRESS;
    for (what, from, to) in [
        ("arguments that cannot be read", nowhere, arguments.as_ptr() as u64),
        ("signals that cannot be written", arguments.as_ptr() as u64, nowhere),
    ] {
        expect_equal(what, tracee.request(PEEK_SIGINFO, from, to), fault)?;
    }
    for request in [libc::PTRACE_GETSIGINFO, libc::PTRACE_SETSIGINFO] {
        expect_equal("a siginfo nowhere", tracee.request(request, 0, nowhere), fault)?;
    }
    let answer = tracee.request(libc::PTRACE_GET_SYSCALL_INFO, 128, nowhere);
    expect_equal("a syscall info nowhere", answer, fault)
}

fn stops_told() -> Check {
    let tracee = start_program()?;
    let options =
        libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACESECCOMP;
    request(tracee.pid, libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned()))
        .map_err(broken("PTRACE_SETOPTIONS"))?;
    tracee.expect_signal(CONT, 0, libc::SIGSYS)?;
    expect_call_info("the stop for SIGSYS", &tracee, 0, &[])?;
    expect_queues(&tracee)?;
    let mut change = tracee.resume(SYSCALL, libc::SIGSYS)?;
    while change == WaitStatus::Stopped(CALL_STOP)
        && tracee.registers()?.number.cast_signed() != libc::SYS_close
    {
        change = tracee.resume(SYSCALL, 0)?;
    }
    let entry = entry_bytes(libc::SYS_close, CLOSE_ARGUMENTS);
    expect_call_info("the entry of an allowed call", &tracee, 1, &entry)?;
    tracee.expect_call_stop(SYSCALL, 0)?;
    let failed = exit_bytes(-i64::from(libc::EBADF), true);
    expect_call_info("the exit of a call that fails", &tracee, 2, &failed)?;
    let stopped = WaitStatus::Stopped(libc::SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
    expect_equal("the tracee", tracee.resume(CONT, 0)?, stopped)?;
    let mut traced = entry_bytes(libc::SYS_umask, [0o111, 0, 0, 0, 0, 0]);
    traced.extend(FILTER_DATA.to_ne_bytes());
    expect_call_info("the stop for a filter", &tracee, 3, &traced)?;
    tracee.expect_call_stop(SYSCALL, 0)?;
    let done = exit_bytes(PREVIOUS_UMASK.cast_signed(), false);
    expect_call_info("the exit of a call", &tracee, 2, &done)?;
    tracee.expect_signal(CONT, 0, libc::SIGSTOP)?;
    let siginfo = ptrace::signal_info(tracee.pid).map_err(broken("PTRACE_GETSIGINFO"))?;
    // The stop of a process by SIGSTOP is no stop for a signal.
    tracee.expect_signal(CONT, libc::SIGSTOP, libc::SIGSTOP)?;
    let invalid = Errno(libc::EINVAL);
    let told = ptrace::signal_info(tracee.pid).map(|_| ());
    expect_equal("siginfo at a group stop", told, Err(invalid))?;
    let set = tracee.request(libc::PTRACE_SETSIGINFO, 0, siginfo.as_ptr() as u64);
    expect_equal("setting a siginfo at a group stop", set, Err(invalid))?;
    expect_call_info("a group stop", &tracee, 0, &[])?;
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}
