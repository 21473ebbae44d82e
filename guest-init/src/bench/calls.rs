// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Calls with and without dispatch, and other ways to cross between native and foreign code.

use super::watch::{CALLS, Watch};
use crate::arch::{self, Repeat, inside_call};
use crate::case::{Check, Failure};
use crate::support::*;
use crate::sys::{self, Action};
use std::ops::Range;

/// What is called: of all calls, the one that does least.
pub(super) const GETPID: i64 = libc::SYS_getpid;

/// Notes each SIGSYS, and nothing else. The call that it was has been kept from the kernel.
pub(super) fn handle_least() -> Check {
    extern "C" fn least(_: i32, _: *const u8, _: *mut u8) {
        arch::answer();
    }
    let action = Action {
        handler: least as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: it is a handler.
    unsafe { sys::sigaction(libc::SIGSYS, &action) }.map_err(broken("rt_sigaction"))
}

/// Times what must be `getpid()` each time.
pub(super) fn time_getpid(watch: &mut Watch, repeat: Repeat) -> Check {
    watch.time(|count| {
        let _ = repeat.run(count);
    });
    watch.expect_answers(0)?;
    equal("getpid()", repeat.run(1), sys::getpid().into())
}

pub(super) fn native() -> Check {
    let mut watch = Watch::start(CALLS)?;
    time_getpid(&mut watch, Repeat::outside(GETPID))?;
    watch.keep()
}

pub(super) fn inside() -> Check {
    not_asked(arm)
}

/// What a call costs that dispatch leaves alone by where it comes from: the selector would not.
fn not_asked(arm: fn() -> Check) -> Check {
    handle_least()?;
    let mut watch = Watch::start(CALLS)?;
    arm()?;
    flip(BLOCK);
    watch.time(|count| {
        let _ = Repeat::inside(GETPID).run(count);
    });
    let got = Repeat::inside(GETPID).run(1);
    flip(ALLOW);
    equal("getpid()", got, sys::getpid().into())?;
    watch.expect_answers(0)?;
    watch.keep()
}

pub(super) fn allowed() -> Check {
    handle_least()?;
    let mut watch = Watch::start(CALLS)?;
    arm()?;
    time_getpid(&mut watch, Repeat::outside(GETPID))?;
    watch.keep()
}

pub(super) fn round_trip() -> Check {
    dispatched(arm)
}

/// What a call costs that is dispatched, each time.
fn dispatched(arm: fn() -> Check) -> Check {
    handle_least()?;
    let mut watch = Watch::start(CALLS)?;
    arm()?;
    flip(BLOCK);
    watch.time(|count| {
        let _ = Repeat::outside(GETPID).run(count);
    });
    flip(ALLOW);
    watch.expect_answers(watch.total())?;
    watch.keep()
}

/// Arms so that only the loop of foreign calls is dispatched.
fn arm_around() -> Check {
    let Range { start, end } = arch::outside();
    flip(ALLOW);
    accepted(INCLUSIVE, start, end - start, address(&SELECTOR))
}

pub(super) fn inclusive_free() -> Check {
    not_asked(arm_around)
}

pub(super) fn inclusive_trip() -> Check {
    dispatched(arm_around)
}

pub(super) fn flip_alone() -> Check {
    let mut watch = Watch::start(CALLS)?;
    arm()?;
    flip(BLOCK);
    // SAFETY: the selector is this process's own, and changes by other hands all the time.
    let repeat = unsafe { Repeat::flip(address(&SELECTOR)) };
    watch.time(|count| {
        let _ = repeat.run(count);
    });
    equal("the selector", SELECTOR.load(std::sync::atomic::Ordering::SeqCst), ALLOW)?;
    watch.keep()
}

/// Nothing is called between arming and disarming.
pub(super) fn prctl() -> Check {
    let call = libc::SYS_prctl.cast_unsigned();
    let option = u64::from(sys::PR_SET_SYSCALL_USER_DISPATCH.cast_unsigned());
    let on = [option, EXCLUSIVE, arch::inside().start, inside_length(), address(&SELECTOR), 0];
    let off = [option, OFF, 0, 0, 0, 0];
    there_and_back(call, [on, off], 0)
}

pub(super) fn personality() -> Check {
    const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
    let call = libc::SYS_personality.cast_unsigned();
    // SAFETY: touches no memory.
    let now = unsafe { sys::call(libc::SYS_personality, &[0xffff_ffff]) };
    let now = now.map_err(broken("personality"))?;
    let other = now ^ ADDR_NO_RANDOMIZE;
    // The second call is told what the first has set.
    there_and_back(call, [[other, 0, 0, 0, 0, 0], [now, 0, 0, 0, 0, 0]], other.cast_signed())
}

/// Times a call with these arguments and then with those, of which the second must answer this.
fn there_and_back(call: u64, arguments: [[u64; 6]; 2], due: i64) -> Check {
    let both = || {
        // SAFETY: arms or disarms with a selector that stays and allows, or touches no memory.
        unsafe {
            let _ = inside_call(call, arguments[0]);
            inside_call(call, arguments[1])
        }
    };
    let mut watch = Watch::start(CALLS)?;
    watch.time(|count| {
        for _ in 0..count {
            let _ = both();
        }
    });
    equal("what the second call answers", both(), due)?;
    watch.keep()
}

pub(super) fn rewritten() -> Check {
    let mut watch = Watch::start(CALLS)?;
    watch.time(|count| {
        let _ = Repeat::rewritten(GETPID).run(count);
    });
    watch.expect_answers(watch.total())?;
    watch.keep()
}

/// A filter or a tracer that this machine does not let us have.
pub(super) fn refused<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Unmet(format!("{what}: {error}"))
}
