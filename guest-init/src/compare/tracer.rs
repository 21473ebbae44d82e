// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tracer as the observer. At each stop of the tracee in the watched call, the tracer makes every
//! ptrace(2) request that reads state, and records the results.

use super::proc;
use super::process::{in_thread, start_process};
use super::record::{Moment, Record};
use super::scenario::{Arming, Monitor, Scenario, Task};
use super::variants::{self, ID_PLACEHOLDER};
use crate::arch;
use crate::case::{Check, Failure};
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace::{self, request};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use std::ffi::CString;
use std::ops::Range;

/// A request that resumes a tracee at the watched call.
pub(crate) struct Resume {
    pub(crate) name: &'static str,
    request: u32,
    /// The number of stops to which this request resumes the tracee, and which are recorded. To later stops
    /// `PTRACE_CONT` resumes the tracee.
    recorded_stops: u32,
}

const fn resume(name: &'static str, request: u32, recorded_stops: u32) -> Resume {
    Resume { name, request, recorded_stops }
}

/// All requests that resume a tracee. The requests that skip system calls (`PTRACE_SYSEMU*`) are used
/// for one stop, since they would also skip the handler's sigreturn. The `libc` crate lacks two of the
/// numbers.
pub(crate) const RESUMES: &[Resume] = &[
    resume("PTRACE_CONT", libc::PTRACE_CONT, 4),
    resume("PTRACE_SINGLESTEP", libc::PTRACE_SINGLESTEP, 4),
    resume("PTRACE_SINGLEBLOCK", 33, 3),
    resume("PTRACE_SYSCALL", libc::PTRACE_SYSCALL, 3),
    resume("PTRACE_SYSEMU", ptrace::SYSEMU, 1),
    resume("PTRACE_SYSEMU_SINGLESTEP", 32, 1),
];

/// Requests of include/uapi/linux/ptrace.h that the `libc` crate lacks.
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;

/// The indices of the shared words in which the tracee stores its process id and thread id.
const ID_WORDS: [usize; 2] = [6, 7];

/// Replaces the tracee's process id and thread id in these ranges of the bytes by [`ID_PLACEHOLDER`].
/// `id_words` are the indices of the shared words that hold the ids. A range may be shorter than a shared
/// word on little-endian processors only.
pub(super) fn replace_ids(bytes: &mut [u8], ranges: [Range<usize>; 2], id_words: [usize; 2]) {
    for (range, id_word) in ranges.into_iter().zip(id_words) {
        let Some(value) = bytes.get_mut(range) else { continue };
        let width = value.len();
        if shared_word(id_word).to_ne_bytes().get(..width) == Some(&*value) {
            value.copy_from_slice(&ID_PLACEHOLDER.to_ne_bytes()[..width]);
        }
    }
}

/// Makes a request that writes `length` bytes to the address in its data argument. `address` is its address
/// argument. Returns the bytes, or the text of the error.
fn read_by_request(pid: i32, get_request: u32, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    match request(pid, get_request, address, bytes.as_mut_ptr() as u64) {
        Ok(_) => bytes,
        Err(error) => error.to_string().into_bytes(),
    }
}

/// Records the results of all requests that read state of a stopped tracee.
pub(super) fn record_stop(record: &Record, moment: Moment, scenario: &Scenario, pid: i32) {
    for (name, kind) in arch::REGISTER_SETS {
        let mut bytes = vec![0; PAGE_SIZE];
        let length = ptrace::regset(pid, libc::PTRACE_GETREGSET, *kind, &mut bytes);
        bytes.truncate(length.unwrap_or(0));
        if *name == "NT_PRSTATUS" {
            let ranges = arch::first_argument_ranges(scenario.convention, bytes.len());
            replace_ids(&mut bytes, ranges, ID_WORDS);
        }
        record.put(moment, name, &bytes);
    }
    let mut words = Vec::new();
    for word in arch::debug_register_words() {
        let mut value = 0u64;
        let _ = request(pid, libc::PTRACE_PEEKUSER, 8 * word, &raw mut value as u64);
        words.extend_from_slice(&value.to_ne_bytes());
    }
    record.put(moment, "debug registers", &words);
    let mut info = read_by_request(pid, libc::PTRACE_GETSIGINFO, 0, 128);
    // Clear si_pid and si_uid: the ids of the sender or of the stopped task. The siginfo of a SIGSYS with a
    // positive si_code, which the kernel sends, has si_call_addr there instead.
    let int_at = |offset: usize| {
        info.get(offset..offset + 4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    };
    let (signal, code) = (int_at(0), int_at(8));
    if info.len() == 128 && (signal != libc::SIGSYS || code <= 0) {
        info[16..24].fill(0);
    }
    record.put(moment, "siginfo", &info);
    record.put(moment, "event message", &read_by_request(pid, libc::PTRACE_GETEVENTMSG, 0, 8));
    record.put(moment, "mask", &read_by_request(pid, PTRACE_GETSIGMASK, 8, 8));
    for (name, flags) in [("queue of the task", 0u32), ("queue of the process", 1)] {
        let mut queued = vec![0u8; 4 * 128];
        // struct ptrace_peeksiginfo_args: `off` in the first word; `flags` and `nr`, at most four signals,
        // in the halves of the second word.
        let arguments: [u64; 2] = [0, u64::from(flags) | 4 << 32];
        let address = arguments.as_ptr() as u64;
        let count =
            request(pid, ptrace::PEEK_SIGINFO, address, queued.as_mut_ptr() as u64).unwrap_or(0);
        queued.truncate(128 * usize::try_from(count).unwrap_or(0));
        record.put(moment, name, &queued);
    }
    let mut info = [0u8; ptrace::CALL_INFO_LENGTH];
    let length =
        request(pid, libc::PTRACE_GET_SYSCALL_INFO, info.len() as u64, info.as_mut_ptr() as u64);
    record.put_result(moment, "length of the syscall info", length);
    // The information has the arguments of the call at PTRACE_SYSCALL_INFO_ENTRY and _SECCOMP. The first two
    // arguments are ids.
    if matches!(info[0], 1 | 3) {
        replace_ids(&mut info, [32..40, 40..48], ID_WORDS);
    }
    record.put(moment, "syscall info", &info);
    let get_by_size = |request: u64, size: usize| {
        read_by_request(pid, u32::try_from(request).unwrap_or(0), size as u64, size)
    };
    record.put(moment, "dispatch", &get_by_size(PTRACE_GET_DISPATCH, 32));
    record.put(moment, "rseq", &get_by_size(PTRACE_GET_RSEQ_CONFIGURATION.into(), 24));
}

/// Records the files `status` and `syscall` in `/proc/PID` of a stopped tracee.
pub(super) fn record_proc(record: &Record, moment: Moment, pid: i32) {
    let mut buffer = [0; 4096];
    let mut read_text = |name: &str| {
        let path = CString::new(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(proc::read_file(&path, &mut buffer)).into_owned()
    };
    proc::record_status_lines(record, moment, read_text("status").as_bytes());
    // The words of the file: number, six arguments, stack pointer, next instruction.
    let call = read_text("syscall");
    let ids = ID_WORDS.map(|index| format!("{:#x}", shared_word(index)));
    let words = call.split_whitespace().enumerate().map(|(index, word)| {
        let is_id = matches!(index, 1 | 2) && ids.iter().any(|id| id == word);
        if is_id { "id" } else { word }
    });
    record.put(moment, "/proc/PID/syscall", words.collect::<Vec<_>>().join(" ").as_bytes());
}

/// Reads each piece of a stopped tracee's state that can be written, and writes the same value back.
pub(super) fn write_back(pid: i32) {
    for (_, kind) in arch::REGISTER_SETS {
        let mut bytes = vec![0; PAGE_SIZE];
        if let Ok(length) = ptrace::regset(pid, libc::PTRACE_GETREGSET, *kind, &mut bytes) {
            let bytes = &mut bytes[..length];
            let _ = ptrace::regset(pid, libc::PTRACE_SETREGSET, *kind, bytes);
        }
    }
    let [get_dispatch, set_dispatch] =
        [PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH].map(|r| u32::try_from(r).unwrap_or(0));
    // Request to read, request to write, address argument, bytes of the state.
    let requests = [
        (libc::PTRACE_GETSIGINFO, libc::PTRACE_SETSIGINFO, 0, 128),
        (PTRACE_GETSIGMASK, PTRACE_SETSIGMASK, 8, 8),
        (get_dispatch, set_dispatch, 32, 32),
    ];
    for (get_request, set_request, address, length) in requests {
        let mut bytes = vec![0u8; length];
        if request(pid, get_request, address, bytes.as_mut_ptr() as u64).is_ok() {
            let _ = request(pid, set_request, address, bytes.as_mut_ptr() as u64);
        }
    }
}

/// Makes this process a tracee of its parent, then makes the watched call once for each of `resumes`. Stops by
/// SIGSTOP at the start and before each call. Returns the exit code.
fn run_traced_calls(scenario: &Scenario, resumes: &[&str]) -> i32 {
    if ptrace::trace_me().is_err() {
        return variants::NOT_PREPARED;
    }
    let [process, thread] = [sys::getpid(), sys::gettid()];
    for (word, id) in ID_WORDS.into_iter().zip([process, thread]) {
        set_shared_word(word, u64::from(id.cast_unsigned()));
    }
    let pause = || {
        let _ = sys::tgkill(process, thread, libc::SIGSTOP);
    };
    pause();
    if let Err(code) = variants::set_up_task(scenario) {
        return code;
    }
    variants::install_recording_handler(libc::SIGSYS);
    for _ in resumes {
        pause();
        variants::call_once_at_breakpoint(scenario, variants::selector_at_call(scenario));
    }
    variants::COMPLETED
}

/// Arms a stopped tracee if the scenario has [`Arming::ByTracer`].
pub(super) fn arm_by_tracer(scenario: &Scenario, pid: i32) -> Check {
    if scenario.arming != Arming::ByTracer {
        return Ok(());
    }
    let [mode, offset, length, selector] = variants::configuration(scenario);
    let config = [mode, selector, offset, length];
    let set_request = u32::try_from(PTRACE_SET_DISPATCH).unwrap_or(0);
    request(pid, set_request, size_of_val(&config) as u64, config.as_ptr() as u64)
        .map(drop)
        .map_err(|error| mismatch("the tracer may arm", error.to_string()))
}

/// Waits for a change of the tracee. Returns the change and the siginfo of waitid(2), without the process id.
fn wait_with_siginfo(pid: i32) -> Result<(WaitStatus, [u8; 128]), Failure> {
    let mut info = [0u8; 128];
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
    // SAFETY: writes a siginfo_t.
    unsafe {
        let siginfo = info.as_mut_ptr().cast::<libc::siginfo_t>();
        libc::waitid(libc::P_PID, pid.cast_unsigned(), siginfo, options);
    }
    info[16..20].fill(0);
    Ok((wait_for_change(pid)?, info))
}

/// Traces the task of a scenario through the watched call, once for each request in `resumes`.
pub(super) fn observe(record: &Record, scenario: &Scenario, resumes: &[&str]) -> Check {
    ID_WORDS.into_iter().for_each(|word| set_shared_word(word, 0));
    let process = start_process(scenario, || match scenario.task {
        Task::Thread => in_thread(&|| run_traced_calls(scenario, resumes)),
        _ => run_traced_calls(scenario, resumes),
    })?;
    let mut pid = process;
    if scenario.task == Task::Thread {
        while shared_word(ID_WORDS[1]) == 0 {
            sys::sched_yield();
        }
        pid = i32::try_from(shared_word(ID_WORDS[1])).unwrap_or(0);
    }
    let stopped = wait_for_change(pid)?;
    expect_equal("a tracee", stopped.to_string(), WaitStatus::Stopped(libc::SIGSTOP).to_string())?;
    ptrace::set_options(pid).map_err(refused_request("PTRACE_SETOPTIONS"))?;
    arm_by_tracer(scenario, pid)?;
    let resume_by = |resume: u32, signal: i32| {
        request(pid, resume, 0, u64::from(signal.cast_unsigned()))
            .map_err(refused_request("resuming the tracee"))
    };
    let mut status = resume_to_sigstop(pid)?;
    for resume in RESUMES {
        if status != WaitStatus::Stopped(libc::SIGSTOP) {
            break;
        }
        if !resumes.contains(&resume.name) {
            continue;
        }
        let mut signal = 0;
        if arch::HAS_CALL_BREAKPOINTS {
            resume_by(libc::PTRACE_CONT, 0)?;
            let before = wait_for_change(pid)?;
            expect_equal("right before the call", before, WaitStatus::Stopped(libc::SIGTRAP))?;
        }
        let mut count = 0;
        loop {
            let request =
                if count < resume.recorded_stops { resume.request } else { libc::PTRACE_CONT };
            resume_by(request, signal)?;
            let (next, info) = wait_with_siginfo(pid)?;
            status = next;
            let WaitStatus::Stopped(stop) = next else { break };
            if stop == libc::SIGSTOP {
                break;
            }
            signal = if matches!(stop, libc::SIGSYS | libc::SIGSEGV) { stop } else { 0 };
            if count < resume.recorded_stops {
                let moment = Moment { variant: resume.name, step: "stop", count };
                record.put_number(moment, "status", u64::from(stop.cast_unsigned()));
                record.put(moment, "waitid", &info);
                record_stop(record, moment, scenario, pid);
                if signal == libc::SIGSYS {
                    record_proc(record, moment, pid);
                }
                if scenario.monitor == Monitor::RewritingTracer {
                    write_back(pid);
                }
            }
            count += 1;
        }
        record.put_number(
            Moment { variant: resume.name, step: "stops", count: 0 },
            "count",
            count.into(),
        );
    }
    while let WaitStatus::Stopped(stop) = status {
        let signal = if stop == libc::SIGSYS { stop } else { 0 };
        resume_by(libc::PTRACE_CONT, signal)?;
        status = wait_for_change(pid)?;
    }
    let moment = Moment { variant: "end", step: "death", count: 0 };
    record.put(moment, "end", status.to_string().as_bytes());
    if pid != process {
        status = wait_for_change(process)?;
    }
    expect_equal(
        "the tracee",
        status.to_string(),
        WaitStatus::Exited(variants::COMPLETED).to_string(),
    )
}

/// Resumes the tracee and delivers its signals, until it stops itself by SIGSTOP or ends.
fn resume_to_sigstop(pid: i32) -> Result<WaitStatus, Failure> {
    let mut signal: i32 = 0;
    loop {
        request(pid, libc::PTRACE_CONT, 0, u64::from(signal.cast_unsigned()))
            .map_err(refused_request("resuming the tracee"))?;
        match wait_for_change(pid)? {
            WaitStatus::Stopped(stop) if stop != libc::SIGSTOP => {
                signal = if stop == libc::SIGTRAP { 0 } else { stop };
            }
            other => return Ok(other),
        }
    }
}
