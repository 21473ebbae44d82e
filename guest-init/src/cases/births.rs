// SPDX-License-Identifier: Apache-2.0 OR MIT

//! New processes and threads of parents in different states: with and without a filter, in a handler and not.

use super::seccomp::filter_umask;
use crate::arch;
use crate::case::{Case, Check, Failure, outside_core};
use crate::support::*;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[outside_core(
    "inheritance/births-in-every-state",
    "a child is not armed and its parent stays armed, whether the parent has a filter or not, is in the \
     handler of a dispatch or not, and by fork, vfork and thread",
    "copy_process()",
    in_every_state,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

/// The shared word with the result of a new thread's call: 1 if it is executed, 2 if it is dispatched.
const THREAD_RESULT: usize = 0;
/// The shared word for the children of a handler: [`NONE_FAILED`], or the number of the first whose
/// call was dispatched, as [`expect_children_not_armed`] counts.
const FAILED_IN_HANDLER: usize = 1;
const NONE_FAILED: u64 = 99;

/// Issues a call in the child. Returns the exit code: 0 if the call is executed, 1 if it is dispatched.
fn check_call_executed() -> i32 {
    let before = dispatch_count();
    let call = fresh_umask_call();
    let _ = issue_blocked(&arch::gate(), &call);
    exit_code(take_umask_effect() && dispatch_count() == before)
}

extern "C" fn run_thread(_: u64) -> u64 {
    set_shared_word(THREAD_RESULT, 1 + u64::from(check_call_executed().cast_unsigned()));
    loop {
        crate::sys::sched_yield();
    }
}

/// Creates a child by fork, another by vfork, and a thread, and checks that the calls of each are
/// executed. The error has the number of the child that failed, from 1 on.
fn expect_children_not_armed() -> Result<(), (u64, Failure)> {
    let forked =
        || -> Check { expect_success(wait_for_change(spawn_child(check_call_executed)?)?) };
    forked().map_err(|failure| (1, failure))?;
    let vforked = || -> Check { expect_success(run_vforked(check_call_executed)?) };
    vforked().map_err(|failure| (2, failure))?;
    set_shared_word(THREAD_RESULT, 0);
    spawn_thread(run_thread, 0).map_err(|failure| (3, failure))?;
    while shared_word(THREAD_RESULT) == 0 {
        crate::sys::sched_yield();
    }
    expect_equal("the new thread's call, 1 for executed", shared_word(THREAD_RESULT), 1)
        .map_err(|failure| (3, failure))
}

/// Handler body: creates children in the first handler that runs.
fn create_children(_: Dispatch<'_>) {
    if shared_word(FAILED_IN_HANDLER) == 0 {
        set_shared_word(FAILED_IN_HANDLER, NONE_FAILED);
        if let Err((number, _)) = expect_children_not_armed() {
            set_shared_word(FAILED_IN_HANDLER, number);
        }
    }
}

fn in_every_state() -> Check {
    for filtered in [false, true] {
        handle_dispatches(do_nothing)?;
        if filtered {
            filter_umask(libc::SECCOMP_RET_ALLOW).map_err(broken("seccomp"))?;
        }
        arm()?;
        expect_children_not_armed().map_err(|(_, failure)| failure)?;
        expect_dispatched(&arch::gate())?;
        set_shared_word(FAILED_IN_HANDLER, 0);
        handle_dispatches(create_children)?;
        let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
        let text = |number| match number {
            NONE_FAILED => "every child's call is executed",
            1 => "the call of a forked child is dispatched",
            2 => "the call of a vforked child is dispatched",
            3 => "the call of a thread is dispatched",
            _ => "the handler did not run",
        };
        let got = text(shared_word(FAILED_IN_HANDLER));
        ensure(got == text(NONE_FAILED), &format!("in a handler, {}", text(NONE_FAILED)), || {
            got.to_owned()
        })?;
        handle_dispatches(do_nothing)?;
        expect_dispatched(&arch::gate())?;
    }
    Ok(())
}
