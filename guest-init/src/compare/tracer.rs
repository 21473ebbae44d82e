// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a tracer sees: every request that reads is made at every stop, and written back where asked.

use super::perform::{self, SOMEBODY};
use super::proc;
use super::program;
use super::record::{Moment, Record};
use super::setting::{Armed, Parent, Setting, Task, Watched};
use crate::arch;
use crate::case::{Check, Failure};
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace::{self, request};
use crate::support::*;
use crate::sys::{self, Change};
use std::ffi::CString;

/// A way to resume a tracee at the watched call, and how many stops of it are recorded.
pub(crate) struct Resume {
    pub(crate) name: &'static str,
    request: u32,
    stops: u32,
}

const fn resume(name: &'static str, request: u32, stops: u32) -> Resume {
    Resume { name, request, stops }
}

/// Every way. What skips calls (`PTRACE_SYSEMU`) would skip the handler's return too.
pub(crate) const RESUMES: &[Resume] = &[
    resume("PTRACE_CONT", libc::PTRACE_CONT, 4),
    resume("PTRACE_SINGLESTEP", libc::PTRACE_SINGLESTEP, 4),
    resume("PTRACE_SINGLEBLOCK", 33, 3),
    resume("PTRACE_SYSCALL", libc::PTRACE_SYSCALL, 3),
    resume("PTRACE_SYSEMU", ptrace::SYSEMU, 1),
    resume("PTRACE_SYSEMU_SINGLESTEP", 32, 1),
];

/// Requests of include/uapi/linux/ptrace.h that the C library does not name.
const PEEKSIGINFO: u32 = 0x4209;
const GET_RSEQ: u32 = 0x420f;
const GETSIGMASK: u32 = 0x420a;
const SETSIGMASK: u32 = 0x420b;

/// Marks in which the task says who it is: process and thread.
const WHO: [usize; 2] = [6, 7];

/// Replaces who calls in these words of memory.
fn anonymous(words: &mut [u8], places: [usize; 2]) {
    for (at, who) in places.into_iter().zip(WHO) {
        let Some(word) = words.get_mut(8 * at..8 * at + 8) else { continue };
        if *word == mark(who).to_ne_bytes() {
            word.copy_from_slice(&SOMEBODY.to_ne_bytes());
        }
    }
}

/// Reads with a request whose data is an address; what is said of an error instead.
fn ask(pid: i32, what: u32, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    match request(pid, what, address, bytes.as_mut_ptr() as u64) {
        Ok(_) => bytes,
        Err(error) => error.to_string().into_bytes(),
    }
}

/// Records all that requests tell of a stopped tracee.
pub(super) fn look(record: &Record, moment: Moment, setting: &Setting, pid: i32) {
    for (name, kind) in arch::REGISTER_SETS {
        let mut bytes = vec![0; PAGE];
        let length = ptrace::regset(pid, libc::PTRACE_GETREGSET, *kind, &mut bytes);
        bytes.truncate(length.unwrap_or(0));
        if *name == "NT_PRSTATUS" {
            anonymous(&mut bytes, arch::first_argument_words(setting.call));
        }
        record.put(moment, name, &bytes);
    }
    let mut words = Vec::new();
    for word in arch::user_words() {
        let mut value = 0u64;
        let _ = request(pid, libc::PTRACE_PEEKUSER, 8 * word, &raw mut value as u64);
        words.extend_from_slice(&value.to_ne_bytes());
    }
    record.put(moment, "debug registers", &words);
    let mut info = ask(pid, libc::PTRACE_GETSIGINFO, 0, 128);
    // Who sent it, or which task stopped: the information of a SIGSYS alone has nothing of the kind.
    let field = |at: usize| {
        info.get(at..at + 4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    };
    if info.len() == 128 && (field(0) != libc::SIGSYS || field(8) <= 0) {
        info[16..24].fill(0);
    }
    record.put(moment, "siginfo", &info);
    record.put(moment, "event message", &ask(pid, libc::PTRACE_GETEVENTMSG, 0, 8));
    record.put(moment, "mask", &ask(pid, GETSIGMASK, 8, 8));
    for (name, flags) in [("queue of the task", 0u32), ("queue of the process", 1)] {
        let mut found = vec![0u8; 4 * 128];
        // struct ptrace_peeksiginfo_args: offset, flags, number.
        let arguments: [u64; 2] = [0, u64::from(flags) | 4 << 32];
        let from = arguments.as_ptr() as u64;
        let count = request(pid, PEEKSIGINFO, from, found.as_mut_ptr() as u64).unwrap_or(0);
        found.truncate(128 * usize::try_from(count).unwrap_or(0));
        record.put(moment, name, &found);
    }
    let mut info = [0u8; ptrace::CALL_INFO_LENGTH];
    let length =
        request(pid, libc::PTRACE_GET_SYSCALL_INFO, info.len() as u64, info.as_mut_ptr() as u64);
    record.answer(moment, "length of the syscall info", length);
    // The arguments of an entry: op 1, or 3 for a filter's.
    if matches!(info[0], 1 | 3) {
        anonymous(&mut info, [4, 5]);
    }
    record.put(moment, "syscall info", &info);
    let get =
        |what: u64, size: u64, length| ask(pid, u32::try_from(what).unwrap_or(0), size, length);
    record.put(moment, "dispatch", &get(PTRACE_GET_DISPATCH, 32, 32));
    record.put(moment, "rseq", &get(GET_RSEQ.into(), 24, 24));
}

/// Records what `/proc` says of a stopped tracee.
pub(super) fn look_in_proc(record: &Record, moment: Moment, pid: i32) {
    let mut room = [0; 4096];
    let mut text = |name: &str| {
        let path = CString::new(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(proc::read(&path, &mut room)).into_owned()
    };
    proc::lines(record, moment, text("status").as_bytes());
    // Number, six arguments, stack pointer, next instruction.
    let call = text("syscall");
    let who = WHO.map(|place| format!("{:#x}", mark(place)));
    let words = call.split_whitespace().enumerate();
    let words = words.map(|(at, word)| {
        if matches!(at, 1 | 2) && who.iter().any(|who| who == word) { "who" } else { word }
    });
    record.put(moment, "/proc/PID/syscall", words.collect::<Vec<_>>().join(" ").as_bytes());
}

/// Writes back all that can be read, as it is.
pub(super) fn write_back(pid: i32) {
    for (_, kind) in arch::REGISTER_SETS {
        let mut bytes = vec![0; PAGE];
        if let Ok(length) = ptrace::regset(pid, libc::PTRACE_GETREGSET, *kind, &mut bytes) {
            let bytes = &mut bytes[..length];
            let _ = ptrace::regset(pid, libc::PTRACE_SETREGSET, *kind, bytes);
        }
    }
    let dispatch =
        [PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH].map(|r| u32::try_from(r).unwrap_or(0));
    let pairs = [
        (libc::PTRACE_GETSIGINFO, libc::PTRACE_SETSIGINFO, 0, 128),
        (GETSIGMASK, SETSIGMASK, 8, 8),
        (dispatch[0], dispatch[1], 32, 32),
    ];
    for (get, set, size, length) in pairs {
        let mut bytes = vec![0u8; length];
        if request(pid, get, size, bytes.as_mut_ptr() as u64).is_ok() {
            let _ = request(pid, set, size, bytes.as_mut_ptr() as u64);
        }
    }
}

/// In the tracee: asks to be traced, and plays once for each way to resume.
fn be_traced(setting: &Setting, resumes: &[&str]) -> i32 {
    if ptrace::trace_me().is_err() {
        return perform::NOT_PREPARED;
    }
    let who = [sys::getpid(), sys::gettid()];
    for (place, id) in WHO.into_iter().zip(who) {
        set_mark(place, u64::from(id.cast_unsigned()));
    }
    let pause = || {
        let _ = sys::tgkill(who[0], who[1], libc::SIGSTOP);
    };
    pause();
    if let Err(code) = perform::set_up(setting) {
        return code;
    }
    perform::handle_plainly(libc::SIGSYS);
    for _ in resumes {
        pause();
        perform::call_once(setting, arch::STOPS_BEFORE_CALLS, perform::selector(setting));
    }
    perform::PLAYED
}

/// Starts the process of a setting.
pub(super) fn born(setting: &Setting, run: impl FnOnce() -> i32) -> Result<i32, Failure> {
    match setting.parent {
        Parent::Plain | Parent::Armed => {}
        Parent::Stepped => return born_of(libc::PTRACE_SINGLESTEP, 1, run),
        Parent::Traced => return born_of(libc::PTRACE_SYSCALL, 2, run),
    }
    if setting.task != Task::NamespaceInit {
        return start(run);
    }
    let flags = u64::from((libc::CLONE_NEWPID | libc::SIGCHLD).cast_unsigned());
    // SAFETY: a fork; the case has one thread.
    let child = unsafe { sys::call(libc::SYS_clone, &arch::clone_arguments(flags, 0)) }
        .map_err(broken("clone"))?;
    if child == 0 {
        sys::exit(run());
    }
    i32::try_from(child).map_err(broken("clone"))
}

/// Mark in which the middle process says whom it bore.
const BORN: usize = 5;

/// The same in a child of a process that its tracer resumes in this way for the birth, which stops
/// so often. Nobody traces the child, and this process is its parent.
fn born_of(resume: u32, stops: u32, run: impl FnOnce() -> i32) -> Result<i32, Failure> {
    set_mark(BORN, 0);
    let middle = start(|| {
        if ptrace::trace_me().is_err() {
            return perform::NOT_PREPARED;
        }
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
        match perform::fork_at_stop(libc::CLONE_PARENT | libc::SIGCHLD) {
            0 => run(),
            born => {
                set_mark(BORN, born);
                perform::PLAYED
            }
        }
    })?;
    let stop = |due: i32| equal("a parent", end_of(middle)?, Change::Stopped(due));
    let go_on = |how: u32| request(middle, how, 0, 0).map(drop).map_err(broken("ptrace"));
    stop(libc::SIGSTOP)?;
    ptrace::set_options(middle).map_err(broken("PTRACE_SETOPTIONS"))?;
    if arch::STOPS_BEFORE_CALLS {
        go_on(libc::PTRACE_CONT)?;
        stop(libc::SIGTRAP)?;
    }
    for _ in 0..stops {
        go_on(resume)?;
        end_of(middle)?;
    }
    go_on(libc::PTRACE_DETACH)?;
    equal("a parent", end_of(middle)?, Change::Exited(perform::PLAYED))?;
    i32::try_from(mark(BORN)).map_err(broken("a child's number"))
}

/// Sets what a setting's tracer arms with.
pub(super) fn arm(setting: &Setting, pid: i32) -> Check {
    if setting.armed != Armed::ByTracer {
        return Ok(());
    }
    let [mode, offset, length, selector] = perform::configuration(setting);
    let config = [mode, selector, offset, length];
    let set = u32::try_from(PTRACE_SET_DISPATCH).unwrap_or(0);
    request(pid, set, 32, config.as_ptr() as u64)
        .map(drop)
        .map_err(|error| mismatch("the tracer may arm", error.to_string()))
}

/// A stop, as `wait4(2)` and `waitid(2)` tell it.
fn wait(pid: i32) -> Result<(Change, [u8; 128]), Failure> {
    let mut info = [0u8; 128];
    let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
    // SAFETY: writes a siginfo_t.
    unsafe {
        let place = info.as_mut_ptr().cast::<libc::siginfo_t>();
        libc::waitid(libc::P_PID, pid.cast_unsigned(), place, options);
    }
    info[16..20].fill(0);
    Ok((end_of(pid)?, info))
}

/// Traces a task of a setting through the watched call, once for each way to resume.
pub(super) fn observe(record: &Record, setting: &Setting, resumes: &[&str]) -> Check {
    WHO.into_iter().for_each(|place| set_mark(place, 0));
    let process = born(setting, || match setting.task {
        Task::Thread => program::in_thread(&|| be_traced(setting, resumes)),
        _ => be_traced(setting, resumes),
    })?;
    let mut pid = process;
    if setting.task == Task::Thread {
        while mark(WHO[1]) == 0 {
            sys::sched_yield();
        }
        pid = i32::try_from(mark(WHO[1])).unwrap_or(0);
    }
    let stopped = end_of(pid)?;
    equal("a tracee", stopped.to_string(), Change::Stopped(libc::SIGSTOP).to_string())?;
    ptrace::set_options(pid).map_err(broken("PTRACE_SETOPTIONS"))?;
    arm(setting, pid)?;
    // To the first pause of its own.
    let go_on = |how: u32, signal: i32| {
        request(pid, how, 0, u64::from(signal.cast_unsigned())).map_err(broken("ptrace"))
    };
    let mut change = resume_to_pause(pid, 0)?;
    for resume in RESUMES {
        if change != Change::Stopped(libc::SIGSTOP) {
            break;
        }
        if !resumes.contains(&resume.name) {
            continue;
        }
        let mut signal = 0;
        if arch::STOPS_BEFORE_CALLS {
            go_on(libc::PTRACE_CONT, 0)?;
            let before = end_of(pid)?;
            equal("right before the call", before, Change::Stopped(libc::SIGTRAP))?;
        }
        let mut count = 0;
        loop {
            let how = if count < resume.stops { resume.request } else { libc::PTRACE_CONT };
            go_on(how, signal)?;
            let (now, info) = wait(pid)?;
            change = now;
            let Change::Stopped(stop) = now else { break };
            if stop == libc::SIGSTOP {
                break;
            }
            signal = if matches!(stop, libc::SIGSYS | libc::SIGSEGV) { stop } else { 0 };
            if count < resume.stops {
                let moment = Moment { scene: resume.name, step: "stop", count };
                record.number(moment, "status", u64::from(stop.cast_unsigned()));
                record.put(moment, "waitid", &info);
                look(record, moment, setting, pid);
                if signal == libc::SIGSYS {
                    look_in_proc(record, moment, pid);
                }
                if setting.watched == Watched::Rewriter {
                    write_back(pid);
                }
            }
            count += 1;
        }
        record.number(
            Moment { scene: resume.name, step: "stops", count: 0 },
            "count",
            count.into(),
        );
    }
    while let Change::Stopped(stop) = change {
        let signal = if stop == libc::SIGSYS { stop } else { 0 };
        go_on(libc::PTRACE_CONT, signal)?;
        change = end_of(pid)?;
    }
    let moment = Moment { scene: "end", step: "death", count: 0 };
    record.put(moment, "end", change.to_string().as_bytes());
    if pid != process {
        change = end_of(process)?;
    }
    equal("the tracee", change.to_string(), Change::Exited(perform::PLAYED).to_string())
}

/// Goes on to the next pause of the tracee's own, or its end.
fn resume_to_pause(pid: i32, first: i32) -> Result<Change, Failure> {
    let mut signal = first;
    loop {
        request(pid, libc::PTRACE_CONT, 0, u64::from(signal.cast_unsigned()))
            .map_err(broken("ptrace"))?;
        match end_of(pid)? {
            Change::Stopped(stop) if stop != libc::SIGSTOP => {
                signal = if stop == libc::SIGTRAP { 0 } else { stop };
            }
            other => return Ok(other),
        }
    }
}
