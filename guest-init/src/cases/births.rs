// SPDX-License-Identifier: Apache-2.0 OR MIT

//! New processes and threads of parents in different states: with or without a filter, inside or outside a
//! handler.

use super::seccomp::filter_umask;
use crate::arch;
use crate::case::{Case, Check, Failure, case_not_in_core};
use crate::support::*;
use sudbox_protocol::Feature;

pub(super) const CASES: &[Case] = &[case_not_in_core(
    "inheritance/births-in-every-state",
    "a forked child, a vforked child and a new thread are not armed and their creator stays armed, with or \
     without a filter, inside or outside the handler of a dispatch",
    "copy_process()",
    in_every_state,
)
.features(&[Feature::Dispatch, Feature::SeccompFilter])];

/// The index of the shared word with the result of a new thread's call: 1 for executed, 2 for dispatched.
const THREAD_RESULT: usize = 0;
/// The index of the shared word with the result of the handler that creates children: 0 before it has run,
/// then [`NONE_ARMED`] or the [`ChildKind`] of the first child whose call was dispatched.
const ARMED_IN_HANDLER: usize = 1;
/// No child of the handler is armed.
const NONE_ARMED: u64 = 99;

/// A child of a creator, as its number in the shared word [`ARMED_IN_HANDLER`].
#[derive(Clone, Copy)]
enum ChildKind {
    Forked = 1,
    Vforked,
    Thread,
}

/// Issues a call in the child. Returns the exit code: 0 if the call is executed, 1 if it is dispatched.
fn check_call_executed() -> i32 {
    let before = dispatch_count();
    let call = fresh_umask_call();
    let _ = issue_blocked(&arch::gate(), &call);
    exit_code(take_umask_effect() && dispatch_count() == before)
}

/// A thread that stores [`THREAD_RESULT`].
extern "C" fn run_thread(_: u64) -> u64 {
    set_shared_word(THREAD_RESULT, 1 + u64::from(check_call_executed().cast_unsigned()));
    loop {
        crate::sys::sched_yield();
    }
}

/// Creates a child by fork, a child by vfork, and a thread, and checks that the call of each is executed.
/// The error names the first child whose call is not.
fn expect_children_not_armed() -> Result<(), (ChildKind, Failure)> {
    let check_fork =
        || -> Check { expect_success(wait_for_change(spawn_child(check_call_executed)?)?) };
    check_fork().map_err(|failure| (ChildKind::Forked, failure))?;
    let check_vfork = || -> Check { expect_success(run_vforked(check_call_executed)?) };
    check_vfork().map_err(|failure| (ChildKind::Vforked, failure))?;
    set_shared_word(THREAD_RESULT, 0);
    spawn_thread(run_thread, 0).map_err(|failure| (ChildKind::Thread, failure))?;
    while shared_word(THREAD_RESULT) == 0 {
        crate::sys::sched_yield();
    }
    expect_equal("the new thread's call, 1 for executed", shared_word(THREAD_RESULT), 1)
        .map_err(|failure| (ChildKind::Thread, failure))
}

/// Handler body: creates children, if this is the first handler.
fn create_children(_: Dispatch<'_>) {
    if shared_word(ARMED_IN_HANDLER) == 0 {
        set_shared_word(ARMED_IN_HANDLER, NONE_ARMED);
        if let Err((kind, _)) = expect_children_not_armed() {
            set_shared_word(ARMED_IN_HANDLER, kind as u64);
        }
    }
}

fn in_every_state() -> Check {
    for has_filter in [false, true] {
        handle_dispatches(do_nothing)?;
        if has_filter {
            filter_umask(libc::SECCOMP_RET_ALLOW).map_err(broken("seccomp"))?;
        }
        arm()?;
        expect_children_not_armed().map_err(|(_, failure)| failure)?;
        expect_dispatched(&arch::gate())?;
        set_shared_word(ARMED_IN_HANDLER, 0);
        handle_dispatches(create_children)?;
        let _ = issue_blocked(&arch::gate(), &fresh_umask_call());
        let result = shared_word(ARMED_IN_HANDLER);
        ensure(result == NONE_ARMED, "in a handler, every child's call is executed", || {
            match result {
                1 => "the call of a forked child is dispatched",
                2 => "the call of a vforked child is dispatched",
                3 => "the call of a thread is dispatched",
                _ => "the handler did not run",
            }
            .to_owned()
        })?;
        handle_dispatches(do_nothing)?;
        expect_dispatched(&arch::gate())?;
    }
    Ok(())
}
