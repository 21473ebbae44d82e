// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System calls other than `PR_SET_SYSCALL_USER_DISPATCH`. None of them changes the dispatch configuration
//! of its caller.

use crate::arch;
use crate::case::{Case, Check, case};
use crate::support::*;
use crate::sys;

pub(super) const CASES: &[Case] = &[case(
    "inheritance/other-calls-keep",
    "calls that change credentials, signals, memory, namespaces or other settings of a task leave it armed",
    "task_set_syscall_user_dispatch()",
    other_calls_keep,
)];

/// A system call: its name, number and arguments.
type Call = (&'static str, i64, [u64; 5]);

/// An argument that leaves a user or group id as it is.
const UNCHANGED_ID: u64 = u32::MAX as u64;

/// A prctl(2) with one argument.
const fn prctl(name: &'static str, option: i32, argument: u64) -> Call {
    (name, libc::SYS_prctl, [option as u64, argument, 0, 0, 0])
}

/// The calls. On a kernel without its feature a call fails and has no effect.
const CALLS: &[Call] = &[
    ("personality", libc::SYS_personality, [UNCHANGED_ID, 0, 0, 0, 0]),
    ("setresuid", libc::SYS_setresuid, [UNCHANGED_ID, UNCHANGED_ID, UNCHANGED_ID, 0, 0]),
    ("setresgid", libc::SYS_setresgid, [UNCHANGED_ID, UNCHANGED_ID, UNCHANGED_ID, 0, 0]),
    ("setgroups", libc::SYS_setgroups, [0; 5]),
    ("unshare of files", libc::SYS_unshare, [libc::CLONE_FILES as u64, 0, 0, 0, 0]),
    ("unshare of the file system", libc::SYS_unshare, [libc::CLONE_FS as u64, 0, 0, 0, 0]),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask, [0, 0, 0, 8, 0]),
    ("sigaltstack", libc::SYS_sigaltstack, [0; 5]),
    ("set_robust_list", libc::SYS_set_robust_list, [0, 24, 0, 0, 0]),
    ("mlockall", libc::SYS_mlockall, [2, 0, 0, 0, 0]),
    ("munlockall", libc::SYS_munlockall, [0; 5]),
    ("sched_yield", libc::SYS_sched_yield, [0; 5]),
    ("membarrier", libc::SYS_membarrier, [0; 5]),
    ("restart_syscall", libc::SYS_restart_syscall, [0; 5]),
    prctl("PR_SET_DUMPABLE", libc::PR_SET_DUMPABLE, 1),
    prctl("PR_SET_TIMERSLACK", libc::PR_SET_TIMERSLACK, 50_000),
    prctl("PR_SET_PDEATHSIG", libc::PR_SET_PDEATHSIG, 9),
    prctl("PR_SET_CHILD_SUBREAPER", libc::PR_SET_CHILD_SUBREAPER, 0),
    prctl("PR_SET_KEEPCAPS", libc::PR_SET_KEEPCAPS, 0),
    prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1),
    prctl("PR_SET_TSC", libc::PR_SET_TSC, 1),
    prctl("PR_MCE_KILL", libc::PR_MCE_KILL, 0),
    prctl("PR_SET_THP_DISABLE", libc::PR_SET_THP_DISABLE, 0),
    prctl("PR_GET_SECCOMP", libc::PR_GET_SECCOMP, 0),
    prctl("an unknown prctl", 0x7fff_0000, 0),
];

fn other_calls_keep() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    for (name, number, arguments) in CALLS {
        // SAFETY: the calls pass no pointers, or null.
        let _ = unsafe { sys::call(*number, arguments) };
        reset_dispatch_count();
        let regs = fresh_umask_call();
        let _ = issue_blocked(&arch::gate(), &regs);
        let has_effect = take_umask_effect();
        let what = format!("SIGSYS handled, and effect, for a blocked call after {name}");
        expect_equal(&what, (dispatch_count(), has_effect), (1, false))?;
    }
    expect_executed(&arch::gate())?;
    disarm()
}
