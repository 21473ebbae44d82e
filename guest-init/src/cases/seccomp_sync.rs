// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A seccomp filter for all threads (`SECCOMP_FILTER_FLAG_TSYNC`) of a process whose threads are armed.

use super::seccomp::{filter_umask, filter_umask_with, umask_call};
use crate::arch;
use crate::case::{Case, Check, Failure, outside_core};
use crate::support::*;
use crate::sys;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[outside_core(
    "seccomp/tsync-decides",
    "a filter for all threads reaches armed threads without a filter, or with one that its own begins \
     with; it is refused with the id of a thread that has another, and does not reach who has exited",
    "seccomp_sync_threads()",
    tsync_decides,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

/// The shared word that says which thread is to act, and in which round: [`turn`].
const TURN: usize = 0;
/// The shared word with the turn that a thread has answered, and the result of its call.
const ANSWER: usize = 1;
/// The shared word about the filter of the process whose leader has exited: [`REQUESTED`], [`DONE`] or
/// [`FAILED`].
const INSTALLATION: usize = 2;
const REQUESTED: u64 = 1;
const DONE: u64 = 2;
const FAILED: u64 = 3;
/// The round in which a thread ends.
const LAST_ROUND: u64 = 99;

/// A thread that was started before the process had a filter.
const WITHOUT_FILTER: u64 = 1;
/// A thread that has the filter of its creator.
const WITH_ANCESTOR: u64 = 2;
/// A thread that has a filter of its own.
const WITH_OWN_FILTER: u64 = 3;

/// The value of [`TURN`] for a thread and a round.
const fn turn(thread: u64, round: u64) -> u64 {
    thread << 8 | round
}

/// Arms, and issues a call that the selector allows in each round.
extern "C" fn run_thread(thread: u64) -> u64 {
    if arm().is_err() || thread == WITH_OWN_FILTER && filter_umask(libc::SECCOMP_RET_ALLOW).is_err()
    {
        return 0;
    }
    let mut answered = 0;
    loop {
        let now = shared_word(TURN);
        if now >> 8 != thread || now == answered {
            sys::sched_yield();
            continue;
        }
        let got = arch::gate().issue(&umask_call()).result();
        answered = now;
        set_shared_word(ANSWER, now << 32 | got.cast_unsigned() & 0xffff_ffff);
        if now == turn(thread, LAST_ROUND) {
            return 0;
        }
    }
}

/// Has a thread issue its call, and returns whether the call failed with this error.
fn fails_with(thread: u64, round: u64, errno: i32) -> bool {
    set_shared_word(TURN, turn(thread, round));
    while shared_word(ANSWER) >> 32 != turn(thread, round) {
        sys::sched_yield();
    }
    shared_word(ANSWER) & 0xffff_ffff == u64::from((-errno).cast_unsigned())
}

/// Installs a filter in all threads that fails umask(2) with this error. Returns the result of seccomp(2).
fn fail_umask_in_all_threads(errno: i32) -> sys::Result<u64> {
    let action = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    filter_umask_with(action, libc::SECCOMP_FILTER_FLAG_TSYNC)
}

/// The lines about seccomp in the status of a thread.
fn seccomp_lines(process: i32, thread: u64) -> Result<Vec<String>, Failure> {
    let path = format!("/proc/{process}/task/{thread}/status");
    let text = std::fs::read_to_string(&path).map_err(broken("a thread's status"))?;
    let is_wanted = |line: &&str| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp");
    Ok(text.lines().filter(is_wanted).map(str::to_owned).collect())
}

fn tsync_decides() -> Check {
    handle_dispatches(do_nothing)?;
    let process = sys::getpid();
    let leader = u64::from(process.cast_unsigned());
    let without = spawn_thread(run_thread, WITHOUT_FILTER)?;
    filter_umask(libc::SECCOMP_RET_ALLOW).map_err(broken("seccomp"))?;
    let with_ancestor = spawn_thread(run_thread, WITH_ANCESTOR)?;
    expect_equal("a filter for all threads", fail_umask_in_all_threads(77), Ok(0))?;
    for (thread, id) in [(WITHOUT_FILTER, without), (WITH_ANCESTOR, with_ancestor)] {
        expect_equal("the filter decides in the thread", fails_with(thread, 1, 77), true)?;
        let expected = seccomp_lines(process, leader)?;
        expect_equal("the thread's status", seccomp_lines(process, id)?, expected)?;
    }
    let other = spawn_thread(run_thread, WITH_OWN_FILTER)?;
    expect_equal("the filter before its own decides", fails_with(WITH_OWN_FILTER, 1, 77), true)?;
    let refused = fail_umask_in_all_threads(78);
    expect_equal("a filter beside that of a thread", refused, Ok(other))?;
    for thread in [WITHOUT_FILTER, WITH_ANCESTOR, WITH_OWN_FILTER] {
        expect_equal("the filter stays", fails_with(thread, 2, 77), true)?;
    }
    let _ = fails_with(WITH_OWN_FILTER, LAST_ROUND, 77);
    while std::fs::exists(format!("/proc/{process}/task/{other}")).unwrap_or(false) {
        sys::sched_yield();
    }
    expect_equal("a filter after the thread's end", fail_umask_in_all_threads(78), Ok(0))?;
    for thread in [WITHOUT_FILTER, WITH_ANCESTOR] {
        expect_equal("the new filter decides", fails_with(thread, 3, 78), true)?;
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    check_exited_leader()
}

/// Installs a filter in all threads when the leader has exited.
extern "C" fn install_after_leader(_: u64) -> u64 {
    await_shared_word(INSTALLATION, REQUESTED);
    let installed = arm().is_ok() && fail_umask_in_all_threads(77) == Ok(0);
    set_shared_word(INSTALLATION, if installed { DONE } else { FAILED });
    loop {
        sys::sched_yield();
    }
}

/// The leader of a process exits before its last thread and stays as a zombie, without its filter.
fn check_exited_leader() -> Check {
    let leader = spawn_child(|| {
        if spawn_thread(install_after_leader, 0).is_ok() {
            // SAFETY: ends this thread alone.
            let _ = unsafe { sys::call(libc::SYS_exit, &[0]) };
        }
        99
    })?;
    let id = u64::from(leader.cast_unsigned());
    let status = format!("/proc/{leader}/status");
    while !std::fs::read_to_string(&status).map_err(broken("status"))?.contains("State:\tZ") {
        sys::sched_yield();
    }
    let before = seccomp_lines(leader, id)?;
    set_shared_word(INSTALLATION, REQUESTED);
    while shared_word(INSTALLATION) == REQUESTED {
        sys::sched_yield();
    }
    let after = seccomp_lines(leader, id);
    sys::kill(leader, libc::SIGKILL).map_err(broken("kill"))?;
    let _ = wait_for_change(leader)?;
    expect_equal("the filter is installed", shared_word(INSTALLATION), DONE)?;
    expect_equal("the status of the leader that has exited", after?, before)
}
