// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Benchmarks of seccomp filters.

use super::calls::{GETPID, install_counting_sigsys_handler, time_getpid, unmet};
use super::watch::{SIZE_FOR_CALLS, SIZE_FOR_SWITCHES, Stopwatch};
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

/// Offsets of the high and the low half of `instruction_pointer` in `struct seccomp_data`.
const POINTER_HALVES: [u32; 2] = if cfg!(target_endian = "little") { [12, 8] } else { [8, 12] };

/// A filter that returns `action` for calls from a range within one aligned 4 GiB, and allows all
/// others.
fn filter_by_pointer(range: &Range<u64>, action: u32) -> Vec<sock_filter> {
    let [high, low] = POINTER_HALVES;
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

/// Installs a filter. Returns the listener's descriptor if `flags` ask for one.
///
/// # Errors
/// [`Failure::Unmet`] if the machine permits no filter.
fn install(mut program: Vec<sock_filter>, flags: u64) -> Result<u64, Failure> {
    filter::install(&mut program, flags).map_err(unmet("a seccomp filter"))
}

pub(super) fn bench_allow_all() -> Check {
    let mut stopwatch = Stopwatch::start(SIZE_FOR_CALLS)?;
    install(vec![statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)], 0)?;
    time_getpid(&mut stopwatch, Repeat::outside(GETPID))?;
    stopwatch.store()
}

pub(super) fn bench_inside() -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(SIZE_FOR_CALLS)?;
    install(filter_by_pointer(&arch::outside_loop(), SECCOMP_RET_TRAP), 0)?;
    time_getpid(&mut stopwatch, Repeat::inside(GETPID))?;
    stopwatch.store()
}

pub(super) fn bench_trap() -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(SIZE_FOR_CALLS)?;
    install(filter_by_pointer(&arch::outside_loop(), SECCOMP_RET_TRAP), 0)?;
    stopwatch.time(|count| {
        let _ = Repeat::outside(GETPID).run(count);
    });
    stopwatch.expect_emulated(stopwatch.total())?;
    stopwatch.store()
}

/// The supervisor's result for each call, which is not a process ID.
const SUPERVISOR_RESULT: i64 = 0x5e1f_0001;

/// The shared word that holds the listener's descriptor plus one, 0 before there is a listener.
const LISTENER: usize = 0;

/// The function of a thread that answers notifications until the process ends.
extern "C" fn supervise(_: u64) -> u64 {
    while shared_word(LISTENER) == 0 {
        sys::sched_yield();
    }
    let listener = shared_word(LISTENER) - 1;
    loop {
        // SAFETY: a structure of integers; the kernel requires it to be zeroed.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the requests write and read these structures.
        unsafe {
            if sys::call(
                libc::SYS_ioctl,
                &[listener, SECCOMP_IOCTL_NOTIF_RECV, &raw mut call as u64],
            )
            .is_ok()
            {
                let (id, val) = (call.id, SUPERVISOR_RESULT);
                let answer = libc::seccomp_notif_resp { id, val, error: 0, flags: 0 };
                let _ = sys::call(
                    libc::SYS_ioctl,
                    &[listener, SECCOMP_IOCTL_NOTIF_SEND, &raw const answer as u64],
                );
            }
        }
    }
}

pub(super) fn bench_notify() -> Check {
    let mut stopwatch = Stopwatch::start(SIZE_FOR_SWITCHES)?;
    // Before the filter, which the thread would inherit.
    spawn_thread(supervise, 0)?;
    let listener = install(
        filter_by_pointer(&arch::outside_loop(), SECCOMP_RET_USER_NOTIF),
        SECCOMP_FILTER_FLAG_NEW_LISTENER,
    )?;
    set_shared_word(LISTENER, listener + 1);
    stopwatch.time(|count| {
        let _ = Repeat::outside(GETPID).run(count);
    });
    expect_equal("result by the supervisor", Repeat::outside(GETPID).run(1), SUPERVISOR_RESULT)?;
    stopwatch.store()
}
