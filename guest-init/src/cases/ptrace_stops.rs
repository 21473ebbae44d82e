// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers to a tracer's requests about calls and signals, at each kind of stop of an armed program.
//!
//! Each answer is compared with its expected value. The comparisons of `compare` do not notice a fault that
//! both scenarios have.

use super::seccomp::{filter_umask, umask_call};
use crate::arch::{self, Registers};
use crate::case::{Case, Check, case};
use crate::ptrace::{self, CALL_STOP, PEEK_SIGINFO, request};
use crate::queued_signal::{Queue, queue_signal, queued_siginfo};
use crate::support::*;
use crate::sys::{self, Errno, WaitStatus};
use crate::tracee::{Tracee, pause_for_tracer};
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[case(
    "ptrace/stops-told",
    "at the stops of an armed program for a dispatch, for an allowed call, for a filter and for SIGSTOP, \
     PTRACE_GET_SYSCALL_INFO reports the call, and PTRACE_PEEKSIGINFO and PTRACE_GETSIGINFO report the \
     signals",
    "ptrace_get_syscall_info()",
    stops_told,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

const CONT: u32 = libc::PTRACE_CONT;
const SYSCALL: u32 = libc::PTRACE_SYSCALL;
/// The event of a stop for a filter (include/uapi/linux/ptrace.h).
const PTRACE_EVENT_SECCOMP: i32 = 7;

// The kinds of stops, `PTRACE_SYSCALL_INFO_*` (include/uapi/linux/ptrace.h).
const SYSCALL_INFO_NONE: u8 = 0;
const SYSCALL_INFO_ENTRY: u8 = 1;
const SYSCALL_INFO_EXIT: u8 = 2;
const SYSCALL_INFO_SECCOMP: u8 = 3;

/// The blocked signals that are queued to the task, in this order.
const TASK_SIGNALS: [i32; 2] = [44, 42];
/// The blocked signal that is queued to the process.
const PROCESS_SIGNAL: i32 = 43;
/// The data that the filter gives to the tracer.
const FILTER_DATA: u32 = 0x1234;
/// The umask before the traced umask(2), which that call returns.
const PREVIOUS_UMASK: u64 = 0o137;
/// The arguments of a close(2) that fails. It ignores all but the first, a descriptor that is not open.
const CLOSE_ARGUMENTS: [u64; 6] = [u64::MAX, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666];
/// The exit code of a tracee to which the filter is refused.
const FILTER_REFUSED: i32 = 98;

/// The value with which a signal is queued.
fn queued_value(signal: i32) -> i32 {
    1000 * signal
}

/// Blocks [`TASK_SIGNALS`] and [`PROCESS_SIGNAL`], and queues them to this task and this process. Returns
/// whether all calls succeeded.
fn queue_signals() -> bool {
    let signals = [TASK_SIGNALS[0], TASK_SIGNALS[1], PROCESS_SIGNAL];
    let mask = signals.into_iter().map(sys::signal_bit).fold(0, |all, bit| all | bit);
    let queue = |signal: i32| {
        let queue = if signal == PROCESS_SIGNAL { Queue::Process } else { Queue::Task };
        queue_signal(queue, signal, queued_value(signal))
    };
    sys::sigmask(libc::SIG_BLOCK, mask).is_ok() && signals.into_iter().all(|s| queue(s).is_ok())
}

/// Starts an armed tracee with signals in its queues. After its first pause it makes a dispatched call, an
/// allowed call that fails, and an allowed call that a filter reports to the tracer, and then stops itself
/// by SIGSTOP.
fn start_program() -> Result<Tracee, crate::case::Failure> {
    handle_dispatches(do_nothing)?;
    Tracee::start(|| {
        let close = Registers::for_call(call_number(libc::SYS_close), CLOSE_ARGUMENTS);
        // SAFETY: takes no pointers.
        let set_umask = unsafe { sys::call(libc::SYS_umask, &[PREVIOUS_UMASK]) };
        if set_umask.is_err() || !queue_signals() || arm().is_err() {
            return SETUP_FAILED;
        }
        pause_for_tracer();
        let _ = issue_blocked(&arch::gate(), &umask_call());
        let close_failed = arch::gate().issue(&close).result() == -i64::from(libc::EBADF);
        if filter_umask(libc::SECCOMP_RET_TRACE | FILTER_DATA).is_err() {
            return FILTER_REFUSED;
        }
        let umask_succeeded =
            arch::gate().issue(&umask_call()).result() == PREVIOUS_UMASK.cast_signed();
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
        exit_code(close_failed && umask_succeeded)
    })
}

/// The value of the bytes that the kernel must not write.
const UNWRITTEN: u8 = 0xee;

/// Makes the request `PTRACE_GET_SYSCALL_INFO` with a buffer of `size` bytes. Returns the length of the
/// information, and the buffer with the bytes after it.
fn call_info(tracee: &Tracee, size: u64) -> (sys::Result<u64>, [u8; 128]) {
    let mut info = [UNWRITTEN; 128];
    let length = tracee.request(libc::PTRACE_GET_SYSCALL_INFO, size, info.as_mut_ptr() as u64);
    (length, info)
}

/// Checks the answer to `PTRACE_GET_SYSCALL_INFO` (`struct ptrace_syscall_info`): the kind of stop (`op`),
/// the architecture, the next instruction, and the bytes after its header, which must be `rest`.
fn expect_call_info(stop: &str, tracee: &Tracee, kind: u8, rest: &[u8]) -> Check {
    const HEADER_LENGTH: usize = 24;
    const ARCH_OFFSET: usize = 4;
    const INSTRUCTION_POINTER_OFFSET: usize = 8;
    const SHORT_SIZE: u8 = 8;
    let length = HEADER_LENGTH + rest.len();
    let (reported_length, info) = call_info(tracee, 128);
    let what = format!("length of the syscall info at {stop}");
    expect_equal(&what, reported_length, Ok(length as u64))?;
    expect_equal(&format!("kind of stop at {stop}"), info[0], kind)?;
    let arch = u32::from_ne_bytes(std::array::from_fn(|i| info[ARCH_OFFSET + i]));
    expect_equal_hex(&format!("architecture at {stop}"), arch.into(), arch::AUDIT_ARCH.into())?;
    let next = u64::from_ne_bytes(std::array::from_fn(|i| info[INSTRUCTION_POINTER_OFFSET + i]));
    let expected = tracee.registers()?.instruction_pointer;
    expect_equal_hex(&format!("next instruction at {stop}"), next, expected)?;
    expect_equal(&format!("bytes after the header at {stop}"), &info[HEADER_LENGTH..length], rest)?;
    expect_equal(&format!("byte after the information at {stop}"), info[length], UNWRITTEN)?;
    let (reported_length, info) = call_info(tracee, SHORT_SIZE.into());
    let what = format!("length with a short buffer at {stop}");
    expect_equal(&what, reported_length, Ok(length as u64))?;
    let byte_after = info[usize::from(SHORT_SIZE)];
    expect_equal(&format!("byte after a short buffer at {stop}"), byte_after, UNWRITTEN)
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

/// Makes the request `PTRACE_PEEKSIGINFO` for up to `count` signals of a queue, from the signal with index
/// `offset` on. Returns the number of signals, and their siginfos.
fn peek(tracee: &Tracee, offset: u64, flags: u32, count: i32) -> (sys::Result<u64>, Vec<u8>) {
    // struct ptrace_peeksiginfo_args.
    let mut arguments = [0u8; 16];
    arguments[..8].copy_from_slice(&offset.to_ne_bytes());
    arguments[8..12].copy_from_slice(&flags.to_ne_bytes());
    arguments[12..].copy_from_slice(&count.to_ne_bytes());
    let mut siginfos = [0u8; 4 * 128];
    let result =
        tracee.request(PEEK_SIGINFO, arguments.as_ptr() as u64, siginfos.as_mut_ptr() as u64);
    let length = siginfos.len() - siginfos.iter().rev().take_while(|byte| **byte == 0).count();
    (result, siginfos[..length.next_multiple_of(128)].to_vec())
}

/// Checks the signals that `PTRACE_PEEKSIGINFO` reads from the queues, and the errors of bad requests.
fn expect_queues(tracee: &Tracee) -> Check {
    /// `PTRACE_PEEKSIGINFO_SHARED`: the queue of the process.
    const SHARED: u32 = 1;
    let infos = |signals: &[i32]| {
        let siginfo = |&signal: &i32| queued_siginfo(tracee.pid, signal, queued_value(signal));
        signals.iter().flat_map(siginfo).collect::<Vec<_>>()
    };
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
    // struct ptrace_peeksiginfo_args: offset 0, the task's queue, one signal.
    let arguments = [0u32, 0, 0, 1];
    let bad_address = arch::KERNEL_ADDRESS;
    for (what, from, to) in [
        ("arguments that cannot be read", bad_address, arguments.as_ptr() as u64),
        ("signals that cannot be written", arguments.as_ptr() as u64, bad_address),
    ] {
        expect_equal(what, tracee.request(PEEK_SIGINFO, from, to), fault)?;
    }
    let pages = map_pages(2)?;
    let end = pages.wrapping_add(PAGE_SIZE);
    protect(end, 1, libc::PROT_NONE)?;
    // The zeros after the kept bytes cannot be written there.
    let partly_writable = end as u64 - KERNEL_SIGINFO_LENGTH;
    for address in [bad_address, end as u64, partly_writable] {
        let result = tracee.request(libc::PTRACE_GETSIGINFO, 0, address);
        expect_equal("a siginfo that cannot be written", result, fault)?;
    }
    for address in [bad_address, end as u64] {
        let result = tracee.request(libc::PTRACE_SETSIGINFO, 0, address);
        expect_equal("a siginfo that cannot be read", result, fault)?;
    }
    // The bytes after the kept ones are read if the kernel does not know the layout of this si_code.
    let unknown_code = 3i32;
    for (offset, field) in [(0, libc::SIGSYS), (8, unknown_code)] {
        // SAFETY: the field is in the first page.
        unsafe {
            (partly_writable as *mut u8).add(offset).cast::<i32>().write_unaligned(field);
        }
    }
    let result = tracee.request(libc::PTRACE_SETSIGINFO, 0, partly_writable);
    expect_equal("a siginfo of which the end cannot be read", result, fault)?;
    let result = tracee.request(libc::PTRACE_GET_SYSCALL_INFO, 128, bad_address);
    expect_equal("a syscall info at a bad address", result, fault)
}

/// The number of bytes of a siginfo that the kernel keeps (`struct kernel_siginfo`).
const KERNEL_SIGINFO_LENGTH: u64 = 48;

/// Sets siginfos with a byte after the kept ones, which the kernel accepts where it knows the layout
/// (`known_siginfo_layout()`). Restores the siginfo.
fn expect_layouts_known(tracee: &Tracee) -> Check {
    // Values of si_code (include/uapi/asm-generic/siginfo.h).
    const SI_DETHREAD: i32 = -7;
    const SI_ASYNCNL: i32 = -60;
    let set =
        |siginfo: &[u8; 128]| tracee.request(libc::PTRACE_SETSIGINFO, 0, siginfo.as_ptr() as u64);
    let get = || ptrace::signal_info(tracee.pid).map_err(refused_request("PTRACE_GETSIGINFO"));
    let before = get()?;
    let too_big = Err(Errno(libc::E2BIG));
    for (signal, code, expected) in [
        (libc::SIGSYS, 0, Ok(0)),
        (libc::SIGSYS, 1, Ok(0)),
        (libc::SIGSYS, 2, Ok(0)),
        (libc::SIGSYS, 3, too_big),
        (libc::SIGSYS, libc::SI_KERNEL, Ok(0)),
        (libc::SIGSYS, libc::SI_KERNEL - 1, too_big),
        (libc::SIGSYS, SI_DETHREAD, Ok(0)),
        (libc::SIGSYS, SI_DETHREAD - 1, too_big),
        (libc::SIGSYS, SI_ASYNCNL, Ok(0)),
        (libc::SIGUSR1, 1, Ok(0)),
        (libc::SIGUSR1, 6, Ok(0)),
        (libc::SIGUSR1, 7, too_big),
    ] {
        let mut siginfo = [0u8; 128];
        siginfo[0..4].copy_from_slice(&signal.to_ne_bytes());
        siginfo[8..12].copy_from_slice(&code.to_ne_bytes());
        let what = format!("a siginfo of signal {signal} with si_code {code}");
        expect_equal(&what, set(&siginfo), Ok(0))?;
        siginfo[127] = 1;
        expect_equal(&format!("{what} and a last byte"), set(&siginfo), expected)?;
        siginfo[127] = 0;
        expect_equal(&format!("{what}, read again"), get()?, siginfo)?;
    }
    set(&before).map(drop).map_err(refused_request("PTRACE_SETSIGINFO"))
}

/// Checks the message that `PTRACE_GETEVENTMSG` reports.
fn expect_event_message(stop: &str, tracee: &Tracee, expected: u64) -> Check {
    let mut message = u64::MAX;
    tracee
        .request(libc::PTRACE_GETEVENTMSG, 0, &raw mut message as u64)
        .map_err(refused_request("PTRACE_GETEVENTMSG"))?;
    expect_equal(&format!("event message at {stop}"), message, expected)
}

fn stops_told() -> Check {
    let tracee = start_program()?;
    let options =
        libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACESECCOMP;
    request(tracee.pid, libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned()))
        .map_err(refused_request("PTRACE_SETOPTIONS"))?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSYS)?;
    expect_call_info("the stop for SIGSYS", &tracee, SYSCALL_INFO_NONE, &[])?;
    expect_event_message("the stop for SIGSYS", &tracee, 0)?;
    expect_queues(&tracee)?;
    expect_layouts_known(&tracee)?;
    let mut status = tracee.resume(SYSCALL, libc::SIGSYS)?;
    while status == WaitStatus::Stopped(CALL_STOP)
        && tracee.registers()?.number.cast_signed() != libc::SYS_close
    {
        status = tracee.resume(SYSCALL, 0)?;
    }
    let entry = entry_bytes(libc::SYS_close, CLOSE_ARGUMENTS);
    expect_call_info("the entry of an allowed call", &tracee, SYSCALL_INFO_ENTRY, &entry)?;
    // PTRACE_EVENTMSG_SYSCALL_ENTRY and PTRACE_EVENTMSG_SYSCALL_EXIT.
    expect_event_message("the entry of an allowed call", &tracee, 1)?;
    tracee.expect_call_stop(SYSCALL, 0)?;
    expect_event_message("the exit of a call that fails", &tracee, 2)?;
    let close_exit = exit_bytes(-i64::from(libc::EBADF), true);
    expect_call_info("the exit of a call that fails", &tracee, SYSCALL_INFO_EXIT, &close_exit)?;
    let filter_stop = WaitStatus::Stopped(libc::SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
    expect_equal("the tracee", tracee.resume(CONT, 0)?, filter_stop)?;
    let mut filter_bytes = entry_bytes(libc::SYS_umask, [0o111, 0, 0, 0, 0, 0]);
    filter_bytes.extend(FILTER_DATA.to_ne_bytes());
    expect_call_info("the stop for a filter", &tracee, SYSCALL_INFO_SECCOMP, &filter_bytes)?;
    tracee.expect_call_stop(SYSCALL, 0)?;
    let umask_exit = exit_bytes(PREVIOUS_UMASK.cast_signed(), false);
    expect_call_info("the exit of a call", &tracee, SYSCALL_INFO_EXIT, &umask_exit)?;
    tracee.resume_to_signal(CONT, 0, libc::SIGSTOP)?;
    let siginfo = ptrace::signal_info(tracee.pid).map_err(refused_request("PTRACE_GETSIGINFO"))?;
    // The first stop is for the delivery of SIGSTOP. The second is the group stop, which has no siginfo.
    tracee.resume_to_signal(CONT, libc::SIGSTOP, libc::SIGSTOP)?;
    let invalid = Errno(libc::EINVAL);
    let get_result = ptrace::signal_info(tracee.pid).map(|_| ());
    expect_equal("siginfo at a group stop", get_result, Err(invalid))?;
    let set_result = tracee.request(libc::PTRACE_SETSIGINFO, 0, siginfo.as_ptr() as u64);
    expect_equal("setting a siginfo at a group stop", set_result, Err(invalid))?;
    expect_call_info("a group stop", &tracee, SYSCALL_INFO_NONE, &[])?;
    expect_success(tracee.resume(CONT, 0)?)?;
    expect_equal("SIGSYS handled", dispatch_count(), 1)
}
