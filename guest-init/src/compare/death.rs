// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The remains of a process that a dispatch kills: its wait status as its parent sees it, and its core.

use super::perform::{self, SOMEBODY};
use super::record::{Moment, Record};
use super::setting::{Setting, Task, Watched};
use super::{core, program, tracer};
use crate::arch;
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, Action, Change};
use crate::{ptrace, shared::shared};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why a process dies at the watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Nobody handles SIGSYS.
    Default,
    /// It is ignored.
    Ignored,
    /// It is handled, but blocked.
    Blocked,
    /// Its handler makes the call again.
    InHandler,
    /// The selector is neither ALLOW nor BLOCK.
    BadValue,
    /// The selector cannot be read.
    Unreadable,
}

/// Every death.
pub(crate) const DEATHS: &[Death] = &[
    Death::Default,
    Death::Ignored,
    Death::Blocked,
    Death::InHandler,
    Death::BadValue,
    Death::Unreadable,
];

impl Death {
    fn name(self) -> &'static str {
        match self {
            Death::Default => "default",
            Death::Ignored => "ignored",
            Death::Blocked => "blocked",
            Death::InHandler => "in-handler",
            Death::BadValue => "bad-value",
            Death::Unreadable => "unreadable",
        }
    }
}

/// The folder of cores.
const PLACE: &std::ffi::CStr = c"/sudbox-core";
const CORE: &str = "/sudbox-core/core";
/// Exit code of a process that the call did not kill.
const ALIVE: i32 = 93;

/// Has the kernel write a core of notes alone to [`CORE`], should this process die.
fn ask_for_core() -> bool {
    let limit = [u64::MAX; 2];
    // SAFETY: reads the limit and the path.
    unsafe {
        let core = u64::from(libc::RLIMIT_CORE);
        sys::call(libc::SYS_prlimit64, &[0, core, limit.as_ptr() as u64, 0]).is_ok()
            && sys::call(libc::SYS_chdir, &[PLACE.as_ptr() as u64]).is_ok()
    }
}

/// Dies, in a task of the setting.
fn die(setting: &Setting, death: Death, page: u64) -> i32 {
    if setting.watched == Watched::Tracer {
        if ptrace::trace_me().is_err() {
            return perform::NOT_PREPARED;
        }
        let _ = sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGSTOP);
    }
    if let Err(code) = perform::set_up(setting) {
        return code;
    }
    perform::handle_plainly(libc::SIGSYS);
    let ignore = Action { handler: 1, ..Action::default() };
    // SAFETY: the default action, and none.
    unsafe {
        let _ = match death {
            Death::Default => sys::sigaction(libc::SIGSYS, &Action::default()),
            Death::Ignored => sys::sigaction(libc::SIGSYS, &ignore),
            Death::Blocked => sys::sigmask(libc::SIG_BLOCK, sys::bit(libc::SIGSYS)).map(drop),
            Death::InHandler => {
                perform::repeat_in_handler(setting);
                Ok(())
            }
            Death::BadValue => Ok(()),
            Death::Unreadable => {
                let inside = arch::inside().start;
                sys::set_dispatch(EXCLUSIVE, inside, inside_length(), page)
            }
        };
    }
    let selector = if death == Death::BadValue { 2 } else { perform::selector(setting) };
    set_mark(0, u64::from(sys::getpid().cast_unsigned()));
    set_mark(1, u64::from(sys::gettid().cast_unsigned()));
    perform::call_once(setting, false, selector);
    ALIVE
}

/// Lets processes of a setting die, and records what is left of each.
pub(super) fn observe(record: &Record, setting: &Setting, deaths: &[Death]) -> Check {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim() != "core" {
        return Err(Failure::Unmet(format!("cores go to `{}`", pattern.trim())));
    }
    std::fs::write("/proc/self/coredump_filter", "0").map_err(broken("coredump_filter"))?;
    let page = pages(1)?;
    protect(page, 1, libc::PROT_NONE)?;
    // SAFETY: reads the path.
    unsafe { libc::mkdir(PLACE.as_ptr(), 0o700) };
    let chld = sys::bit(libc::SIGCHLD);
    let mask = sys::sigmask(libc::SIG_BLOCK, chld).map_err(broken("rt_sigprocmask"))?;
    for death in deaths {
        let _ = std::fs::remove_file(CORE);
        let moment = Moment { scene: death.name(), step: "death", count: 0 };
        let pid = tracer::born(setting, || {
            let _ = sys::sigmask(libc::SIG_SETMASK, mask);
            if !ask_for_core() {
                return perform::NOT_PREPARED;
            }
            match setting.task {
                Task::Thread => program::in_thread(&|| die(setting, *death, page as u64)),
                _ => die(setting, *death, page as u64),
            }
        })?;
        if setting.watched == Watched::Tracer {
            follow(pid)?;
        }
        let mut info = [0u8; 128];
        let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        // SAFETY: writes a siginfo_t.
        unsafe {
            let place = info.as_mut_ptr().cast::<libc::siginfo_t>();
            libc::waitid(libc::P_PID, pid.cast_unsigned(), place, options);
        }
        info[16..20].fill(0);
        record.put(moment, "waitid", &info);
        let mut status = 0u32;
        // SAFETY: writes the status.
        let reaped = unsafe {
            let pid = u64::from(pid.cast_unsigned());
            sys::call(libc::SYS_wait4, &[pid, &raw mut status as u64, libc::__WALL as u64, 0])
        };
        reaped.map_err(broken("wait4"))?;
        record.number(moment, "wait4", status.into());
        let told = sys::sigtimedwait(chld, Duration::ZERO).map(|_| 0);
        record.answer(moment, "SIGCHLD to the parent", told);
        record.number(moment, "handlers", shared().others.load(Ordering::SeqCst).into());
        let file = std::fs::read(CORE).unwrap_or_default();
        record.number(moment, "core written", u64::from(!file.is_empty()));
        let anonymous = |registers: &mut [u8]| {
            for (at, who) in arch::first_argument_words(setting.call).into_iter().zip([0, 1]) {
                let Some(word) = registers.get_mut(8 * at..8 * at + 8) else { continue };
                if *word == mark(who).to_ne_bytes() {
                    word.copy_from_slice(&SOMEBODY.to_ne_bytes());
                }
            }
        };
        if !file.is_empty() {
            core::look(record, moment, &file, anonymous)
                .ok_or_else(|| Failure::Broken("a core that cannot be read".into()))?;
        }
    }
    let _ = std::fs::remove_file(CORE);
    sys::sigmask(libc::SIG_SETMASK, mask).map_err(broken("rt_sigprocmask")).map(drop)
}

/// As its tracer, gives it all its signals until it is about to die.
fn follow(pid: i32) -> Check {
    let mut signal = 0;
    loop {
        let mut info = [0u8; 128];
        let options = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL;
        // SAFETY: writes a siginfo_t.
        unsafe {
            let place = info.as_mut_ptr().cast::<libc::siginfo_t>();
            libc::waitid(libc::P_PID, pid.cast_unsigned(), place, options);
        }
        // si_code: CLD_TRAPPED.
        if info[8] != 4 {
            return Ok(());
        }
        if let Change::Stopped(stop) = end_of(pid)?
            && stop != libc::SIGSTOP
        {
            signal = stop;
        }
        ptrace::request(pid, libc::PTRACE_CONT, 0, u64::from(signal.cast_unsigned()))
            .map_err(broken("PTRACE_CONT"))?;
    }
}
