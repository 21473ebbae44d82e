// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parent as the observer: records the wait status and the core dump of a process that dies at the
//! watched call.

use super::record::{Moment, Record};
use super::scenario::{Monitor, Scenario, Task};
use super::variants;
use super::{core_dump, process, stacks, tracer};
use crate::arch;
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, SigAction, WaitStatus};
use crate::{ptrace, shared::shared};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The reason why a process dies at the watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// SIGSYS has its default action.
    DefaultAction,
    /// SIGSYS is ignored.
    Ignored,
    /// SIGSYS has a handler and is blocked.
    Blocked,
    /// The handler of SIGSYS makes the call again.
    RepeatedInHandler,
    /// The selector is neither ALLOW nor BLOCK.
    BadSelectorValue,
    /// The selector cannot be read.
    UnreadableSelector,
}

/// All reasons to die.
pub(crate) const ALL_DEATHS: &[Death] = &[
    Death::DefaultAction,
    Death::Ignored,
    Death::Blocked,
    Death::RepeatedInHandler,
    Death::BadSelectorValue,
    Death::UnreadableSelector,
];

impl Death {
    /// The name of the reason in records.
    fn name(self) -> &'static str {
        match self {
            Death::DefaultAction => "default",
            Death::Ignored => "ignored",
            Death::Blocked => "blocked",
            Death::RepeatedInHandler => "in-handler",
            Death::BadSelectorValue => "bad-value",
            Death::UnreadableSelector => "unreadable",
        }
    }
}

/// The working directory of the dying processes, to which the kernel writes their core dumps.
const CORE_DIR: &std::ffi::CStr = c"/sudbox-core";
const CORE_FILE: &str = "/sudbox-core/core";
/// The indices of the shared words in which a dying process stores its process id and thread id.
const CORE_ID_WORDS: [usize; 2] = [0, 1];
/// Exit code of a process that survived the call.
const SURVIVED: i32 = 93;

/// Removes the size limit of core dumps and changes to the directory of [`CORE_FILE`]. Returns whether
/// both succeeded.
fn enable_core_dump() -> bool {
    let limit = [u64::MAX; 2];
    // SAFETY: reads the limit and the path.
    unsafe {
        let core = u64::from(libc::RLIMIT_CORE);
        sys::call(libc::SYS_prlimit64, &[0, core, limit.as_ptr() as u64, 0]).is_ok()
            && sys::call(libc::SYS_chdir, &[CORE_DIR.as_ptr() as u64]).is_ok()
    }
}

/// Makes the preparations of the scenario and of the reason to die, then makes the watched call. Returns an
/// exit code if the preparations fail, or if the task survives the call.
fn make_fatal_call(scenario: &Scenario, death: Death) -> i32 {
    if scenario.monitor == Monitor::Tracer {
        if ptrace::trace_me().is_err() {
            return variants::NOT_PREPARED;
        }
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
    }
    if let Err(code) = variants::set_up_task(scenario) {
        return code;
    }
    variants::install_recording_handler(libc::SIGSYS);
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    // SAFETY: sets the default action, or SIG_IGN.
    unsafe {
        let _ = match death {
            Death::DefaultAction => sys::sigaction(libc::SIGSYS, &SigAction::default()),
            Death::Ignored => sys::sigaction(libc::SIGSYS, &ignore),
            Death::Blocked => {
                sys::sigmask(libc::SIG_BLOCK, sys::signal_bit(libc::SIGSYS)).map(drop)
            }
            Death::RepeatedInHandler => {
                variants::repeat_in_handler(scenario);
                Ok(())
            }
            Death::BadSelectorValue => Ok(()),
            Death::UnreadableSelector => {
                let inside = arch::inside().start;
                sys::set_dispatch(
                    MODE_EXCLUSIVE,
                    inside,
                    inside_length(),
                    stacks::unreadable_page(),
                )
            }
        };
    }
    let selector = match death {
        Death::BadSelectorValue => INVALID,
        _ => variants::selector_at_call(scenario),
    };
    let [process_word, thread_word] = CORE_ID_WORDS;
    set_shared_word(process_word, u64::from(sys::getpid().cast_unsigned()));
    set_shared_word(thread_word, u64::from(sys::gettid().cast_unsigned()));
    variants::call_once(scenario, selector);
    SURVIVED
}

/// For each reason, starts a process of the scenario that dies for this reason. Records its wait status, the
/// SIGCHLD that this process gets, and its core dump.
pub(super) fn observe(record: &Record, scenario: &Scenario, deaths: &[Death]) -> Check {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        return Err(Failure::Unmet(format!("cores go to `{}`", pattern.trim())));
    }
    // With this filter cores hold notes only, and no memory.
    std::fs::write("/proc/self/coredump_filter", "0").map_err(broken("coredump_filter"))?;
    // SAFETY: reads the path.
    unsafe { libc::mkdir(CORE_DIR.as_ptr(), 0o700) };
    let sigchld = sys::signal_bit(libc::SIGCHLD);
    let mask = sys::sigmask(libc::SIG_BLOCK, sigchld).map_err(broken("rt_sigprocmask"))?;
    for death in deaths {
        let _ = std::fs::remove_file(CORE_FILE);
        let moment = Moment { variant: death.name(), step: "death", count: 0 };
        let pid = process::start_process(scenario, || {
            let _ = sys::sigmask(libc::SIG_SETMASK, mask);
            if !enable_core_dump() {
                return variants::NOT_PREPARED;
            }
            let call = || make_fatal_call(scenario, *death);
            match scenario.task {
                Task::Thread => process::in_thread(&call),
                _ => call(),
            }
        })?;
        if scenario.monitor == Monitor::Tracer {
            deliver_until_exit(pid)?;
        }
        record_wait(record, moment, pid)?;
        let sigchld = sys::sigtimedwait(sigchld, Duration::ZERO).map(|_| 0);
        record.put_result(moment, "SIGCHLD to the parent", sigchld);
        record.put_number(moment, "handlers", shared().other_signals.load(Ordering::SeqCst).into());
        record_core(record, moment, scenario)?;
    }
    let _ = std::fs::remove_file(CORE_FILE);
    sys::sigmask(libc::SIG_SETMASK, mask).map_err(broken("rt_sigprocmask")).map(drop)
}

/// Records the results of waitid(2) and wait4(2) for a child, and reaps the child.
fn record_wait(record: &Record, moment: Moment, pid: i32) -> Check {
    let mut info = wait_without_reaping(pid, libc::WEXITED);
    // si_pid.
    info[16..20].fill(0);
    record.put(moment, "waitid", &info);
    let mut status = 0u32;
    // SAFETY: writes the status.
    let reaped = unsafe {
        let pid = u64::from(pid.cast_unsigned());
        sys::call(libc::SYS_wait4, &[pid, &raw mut status as u64, libc::__WALL as u64, 0])
    };
    reaped.map_err(broken("wait4"))?;
    record.put_number(moment, "wait4", status.into());
    Ok(())
}

/// Records whether the process left a core dump, and the dump's notes.
fn record_core(record: &Record, moment: Moment, scenario: &Scenario) -> Check {
    let dump = std::fs::read(CORE_FILE).unwrap_or_default();
    record.put_number(moment, "core written", u64::from(!dump.is_empty()));
    if dump.is_empty() {
        return Ok(());
    }
    let replace_ids = |registers: &mut [u8]| {
        let ranges = arch::first_argument_ranges(scenario.convention, registers.len());
        tracer::replace_ids(registers, ranges, CORE_ID_WORDS);
    };
    core_dump::record_notes(record, moment, &dump, replace_ids)
        .ok_or_else(|| mismatch("a core whose notes fill their segment", "another"))
}

/// Waits for a change of a child without reaping it. Returns the siginfo of waitid(2).
fn wait_without_reaping(pid: i32, options: i32) -> [u8; 128] {
    let mut info = [0u8; 128];
    // SAFETY: writes a siginfo_t.
    unsafe {
        let siginfo = info.as_mut_ptr().cast::<libc::siginfo_t>();
        let options = options | libc::WNOWAIT | libc::__WALL;
        libc::waitid(libc::P_PID, pid.cast_unsigned(), siginfo, options);
    }
    info
}

/// Resumes a tracee and delivers each of its signals, until the tracee has ended. Does not reap the tracee.
fn deliver_until_exit(pid: i32) -> Check {
    let mut signal = 0;
    loop {
        let info = wait_without_reaping(pid, libc::WEXITED | libc::WSTOPPED);
        // si_code: CLD_TRAPPED.
        if info[8] != 4 {
            return Ok(());
        }
        if let WaitStatus::Stopped(stop) = wait_for_change(pid)?
            && stop != libc::SIGSTOP
        {
            signal = stop;
        }
        ptrace::request(pid, libc::PTRACE_CONT, 0, u64::from(signal.cast_unsigned()))
            .map_err(refused_request("PTRACE_CONT"))?;
    }
}
