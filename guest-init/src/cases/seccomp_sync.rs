// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A seccomp filter for all threads (`SECCOMP_FILTER_FLAG_TSYNC`) of a process whose threads are armed.

use super::seccomp::{filter_umask, filter_umask_with, umask_call};
use crate::arch;
use crate::case::{Case, Check, Failure, case_not_in_core};
use crate::support::*;
use crate::sys;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[case_not_in_core(
    "seccomp/tsync-decides",
    "a filter for all threads is installed in armed threads whose filters the caller has too; if a thread \
     has another filter the kernel returns its id and installs nothing; threads that have exited are left out",
    "seccomp_sync_threads()",
    tsync_decides,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])
.known_bugs(&["exited-thread-filtered"])];

/// The index of the shared word with the thread that must make its call, and the round: [`turn`].
const TURN: usize = 0;
/// The index of the shared word with the last turn in which a thread made its call, in the upper half, and
/// the low 32 bits of the result of that call.
const RESULT_OF_TURN: usize = 1;
/// The index of the shared word with the state of the installation in the process whose leader has exited:
/// [`REQUESTED`], [`INSTALLED`] or [`FAILED`].
const INSTALLATION: usize = 2;
const REQUESTED: u64 = 1;
const INSTALLED: u64 = 2;
const FAILED: u64 = 3;
/// The round after which a thread ends.
const LAST_ROUND: u64 = 99;

// Errors by which the filters fail umask(2). Neither is an error of the kernel's umask(2).
const FIRST_ERROR: i32 = 77;
const SECOND_ERROR: i32 = 78;

/// The number of the thread that was started before the process had a filter.
const WITHOUT_FILTER: u64 = 1;
/// The number of the thread that has the filter of its creator.
const WITH_ANCESTOR: u64 = 2;
/// The number of the thread that has a filter of its own.
const WITH_OWN_FILTER: u64 = 3;

/// The value of [`TURN`] for a thread and a round.
const fn turn(thread: u64, round: u64) -> u64 {
    thread << 8 | round
}

/// A thread that arms, and in each round issues a call that the selector allows.
extern "C" fn run_thread(thread: u64) -> u64 {
    if arm().is_err() || thread == WITH_OWN_FILTER && filter_umask(libc::SECCOMP_RET_ALLOW).is_err()
    {
        return 0;
    }
    let mut last_turn = 0;
    loop {
        let current_turn = shared_word(TURN);
        if current_turn >> 8 != thread || current_turn == last_turn {
            sys::sched_yield();
            continue;
        }
        let result = arch::gate().issue(&umask_call()).result();
        last_turn = current_turn;
        set_shared_word(RESULT_OF_TURN, current_turn << 32 | result.cast_unsigned() & 0xffff_ffff);
        if current_turn == turn(thread, LAST_ROUND) {
            return 0;
        }
    }
}

/// Makes a thread issue its call, and returns whether the call failed with this error.
fn call_fails_with(thread: u64, round: u64, errno: i32) -> bool {
    set_shared_word(TURN, turn(thread, round));
    while shared_word(RESULT_OF_TURN) >> 32 != turn(thread, round) {
        sys::sched_yield();
    }
    shared_word(RESULT_OF_TURN) & 0xffff_ffff == u64::from((-errno).cast_unsigned())
}

/// Installs a filter in all threads. The filter fails umask(2) with this error. Returns the result of
/// seccomp(2).
fn fail_umask_in_all_threads(errno: i32) -> sys::Result<u64> {
    let action = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    filter_umask_with(action, libc::SECCOMP_FILTER_FLAG_TSYNC)
}

/// The lines about seccomp in the status of a thread.
fn seccomp_lines(process: i32, thread: u64) -> Result<Vec<String>, Failure> {
    let path = format!("/proc/{process}/task/{thread}/status");
    let text = std::fs::read_to_string(&path).map_err(broken("a thread's status"))?;
    let is_about_seccomp =
        |line: &&str| line.starts_with("NoNewPrivs") || line.starts_with("Seccomp");
    Ok(text.lines().filter(is_about_seccomp).map(str::to_owned).collect())
}

fn tsync_decides() -> Check {
    handle_dispatches(do_nothing)?;
    let process = sys::getpid();
    let leader = u64::from(process.cast_unsigned());
    let without_filter_tid = spawn_thread(run_thread, WITHOUT_FILTER)?;
    filter_umask(libc::SECCOMP_RET_ALLOW).map_err(broken("seccomp"))?;
    let with_ancestor_tid = spawn_thread(run_thread, WITH_ANCESTOR)?;
    expect_equal("a filter for all threads", fail_umask_in_all_threads(FIRST_ERROR), Ok(0))?;
    for (thread, tid) in [(WITHOUT_FILTER, without_filter_tid), (WITH_ANCESTOR, with_ancestor_tid)]
    {
        let is_filtered = call_fails_with(thread, 1, FIRST_ERROR);
        expect_equal("the filter decides in the thread", is_filtered, true)?;
        let expected = seccomp_lines(process, leader)?;
        expect_equal("the thread's status", seccomp_lines(process, tid)?, expected)?;
    }
    let with_own_tid = spawn_thread(run_thread, WITH_OWN_FILTER)?;
    let is_filtered = call_fails_with(WITH_OWN_FILTER, 1, FIRST_ERROR);
    expect_equal("the filter before the thread's own decides", is_filtered, true)?;
    // The thread with its own filter makes the kernel return its id.
    let result = fail_umask_in_all_threads(SECOND_ERROR);
    expect_equal("a filter beside that of a thread", result, Ok(with_own_tid))?;
    for thread in [WITHOUT_FILTER, WITH_ANCESTOR, WITH_OWN_FILTER] {
        expect_equal("the filter stays", call_fails_with(thread, 2, FIRST_ERROR), true)?;
    }
    let _ = call_fails_with(WITH_OWN_FILTER, LAST_ROUND, FIRST_ERROR);
    while std::fs::exists(format!("/proc/{process}/task/{with_own_tid}")).unwrap_or(false) {
        sys::sched_yield();
    }
    let result = fail_umask_in_all_threads(SECOND_ERROR);
    expect_equal("a filter after the thread's end", result, Ok(0))?;
    for thread in [WITHOUT_FILTER, WITH_ANCESTOR] {
        expect_equal("the new filter decides", call_fails_with(thread, 3, SECOND_ERROR), true)?;
    }
    expect_equal("SIGSYS handled", dispatch_count(), 0)?;
    check_exited_leader()
}

/// A thread that installs a filter in all threads, once the leader of its process has exited.
extern "C" fn install_after_leader(_: u64) -> u64 {
    await_shared_word(INSTALLATION, REQUESTED);
    let installed = arm().is_ok() && fail_umask_in_all_threads(FIRST_ERROR) == Ok(0);
    set_shared_word(INSTALLATION, if installed { INSTALLED } else { FAILED });
    loop {
        sys::sched_yield();
    }
}

/// Checks that a filter for all threads is not installed in a thread group leader that has exited. The
/// leader stays as a zombie until the last thread of its process ends.
fn check_exited_leader() -> Check {
    let leader = spawn_child(|| {
        if spawn_thread(install_after_leader, 0).is_ok() {
            // SAFETY: ends this thread alone.
            let _ = unsafe { sys::call(libc::SYS_exit, &[0]) };
        }
        SETUP_FAILED
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
    expect_equal("the filter is installed", shared_word(INSTALLATION), INSTALLED)?;
    expect_equal("the status of the leader that has exited", after?, before)
}
