// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Seccomp filters.

use super::calls::{GETPID, handle_least, refused, time_getpid};
use super::watch::{CALLS, SWITCHES, Watch};
use crate::arch::{self, Repeat};
use crate::case::{Check, Failure};
use crate::filter::{self, statement};
use crate::support::*;
use crate::sys;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use libc::{
    SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF,
};
use std::ops::Range;

/// Where a filter finds the halves of the instruction pointer in `struct seccomp_data`.
const POINTER: [u32; 2] = if cfg!(target_endian = "little") { [12, 8] } else { [8, 12] };

/// Does this to calls whose next instruction is in a range that crosses no 4 GiB, and allows the rest.
fn by_pointer(range: &Range<u64>, action: u32) -> Vec<sock_filter> {
    let [high, low] = POINTER;
    let half = |address: u64| u32::try_from(address & 0xffff_ffff).unwrap_or(0);
    let (load, jump) = (BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_K);
    vec![
        statement(load, 0, 0, high),
        statement(jump | BPF_JEQ, 0, 4, half(range.start >> 32)),
        statement(load, 0, 0, low),
        statement(jump | BPF_JGE, 0, 2, half(range.start)),
        statement(jump | BPF_JGE, 1, 0, half(range.end)),
        statement(BPF_RET | BPF_K, 0, 0, action),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ]
}

/// Installs a filter, which some machines let nobody do. Gives a listener if one is asked for.
fn install(mut program: Vec<sock_filter>, flags: u64) -> Result<u64, Failure> {
    filter::install(&mut program, flags).map_err(refused("a seccomp filter"))
}

pub(super) fn allow_all() -> Check {
    let mut watch = Watch::start(CALLS)?;
    install(vec![statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)], 0)?;
    time_getpid(&mut watch, Repeat::outside(GETPID))?;
    watch.keep()
}

pub(super) fn inside() -> Check {
    handle_least()?;
    let mut watch = Watch::start(CALLS)?;
    install(by_pointer(&arch::outside(), SECCOMP_RET_TRAP), 0)?;
    time_getpid(&mut watch, Repeat::inside(GETPID))?;
    watch.keep()
}

pub(super) fn trap() -> Check {
    handle_least()?;
    let mut watch = Watch::start(CALLS)?;
    install(by_pointer(&arch::outside(), SECCOMP_RET_TRAP), 0)?;
    watch.time(|count| {
        let _ = Repeat::outside(GETPID).run(count);
    });
    watch.expect_answers(watch.total())?;
    watch.keep()
}

/// What the supervisor answers, which is no process.
const ANSWER: i64 = 0x5e1f_0001;

/// The mark by which the supervisor is told the listener, plus one.
const LISTENER: usize = 0;

/// Answers for ever. It shares memory and descriptors with the thread under the filter.
extern "C" fn supervise(_: u64) -> u64 {
    while mark(LISTENER) == 0 {
        sys::sched_yield();
    }
    let listener = mark(LISTENER) - 1;
    loop {
        // SAFETY: plain numbers, which the kernel wants to be 0.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the requests write and read these structures.
        unsafe {
            if sys::call(
                libc::SYS_ioctl,
                &[listener, SECCOMP_IOCTL_NOTIF_RECV, &raw mut call as u64],
            )
            .is_ok()
            {
                let (id, val) = (call.id, ANSWER);
                let answer = libc::seccomp_notif_resp { id, val, error: 0, flags: 0 };
                let _ = sys::call(
                    libc::SYS_ioctl,
                    &[listener, SECCOMP_IOCTL_NOTIF_SEND, &raw const answer as u64],
                );
            }
        }
    }
}

pub(super) fn notify() -> Check {
    let mut watch = Watch::start(SWITCHES)?;
    // First: a filter is inherited.
    spawn_thread(supervise, 0)?;
    let listener = install(
        by_pointer(&arch::outside(), SECCOMP_RET_USER_NOTIF),
        SECCOMP_FILTER_FLAG_NEW_LISTENER,
    )?;
    set_mark(LISTENER, listener + 1);
    watch.time(|count| {
        let _ = Repeat::outside(GETPID).run(count);
    });
    equal("what the supervisor answers", Repeat::outside(GETPID).run(1), ANSWER)?;
    watch.keep()
}
