// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Births in the states of a parent that the kernel's fork path looks at.

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

/// The mark with the result of a new thread's call.
const RESULT: usize = 0;
/// The mark with the result of the births in a handler: [`FINE`], or the number of the birth that failed.
const IN_HANDLER: usize = 1;
const FINE: u64 = 99;

/// The child's exit code: 0 if its call is executed.
fn child() -> i32 {
    let before = dispatches();
    let call = touch();
    let _ = issue_blocked(&arch::gate(), &call);
    exit_code(touched() && dispatches() == before)
}

extern "C" fn thread(_: u64) -> u64 {
    set_mark(RESULT, 1 + u64::from(child().cast_unsigned()));
    loop {
        crate::sys::sched_yield();
    }
}

/// A child by fork, by vfork, and a thread.
fn births() -> Result<(), (u64, Failure)> {
    let forked = || -> Check { expect_success(wait_change(spawn_child(child)?)?) };
    forked().map_err(|failure| (1, failure))?;
    let vforked = || -> Check { expect_success(run_vforked(child)?) };
    vforked().map_err(|failure| (2, failure))?;
    set_mark(RESULT, 0);
    spawn_thread(thread, 0).map_err(|failure| (3, failure))?;
    while mark(RESULT) == 0 {
        crate::sys::sched_yield();
    }
    equal("the new thread's call, 1 for executed", mark(RESULT), 1).map_err(|failure| (3, failure))
}

/// Reaction: gives birth in the first handler that runs.
fn give_birth(_: Dispatch<'_>) {
    if mark(IN_HANDLER) == 0 {
        set_mark(IN_HANDLER, FINE);
        if let Err((number, _)) = births() {
            set_mark(IN_HANDLER, number);
        }
    }
}

fn in_every_state() -> Check {
    for filtered in [false, true] {
        handle(noop)?;
        if filtered {
            filter_umask(libc::SECCOMP_RET_ALLOW).map_err(broken("seccomp"))?;
        }
        arm()?;
        births().map_err(|(_, failure)| failure)?;
        is_dispatched(&arch::gate())?;
        set_mark(IN_HANDLER, 0);
        handle(give_birth)?;
        let _ = issue_blocked(&arch::gate(), &touch());
        let text = |number| match number {
            FINE => "every child's call is executed",
            1 => "the call of a forked child is dispatched",
            2 => "the call of a vforked child is dispatched",
            3 => "the call of a thread is dispatched",
            _ => "the handler did not run",
        };
        let got = text(mark(IN_HANDLER));
        ensure(got == text(FINE), &format!("in a handler, {}", text(FINE)), || got.to_owned())?;
        handle(noop)?;
        is_dispatched(&arch::gate())?;
    }
    Ok(())
}
