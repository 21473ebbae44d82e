// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Benchmarks of seccomp filters.

use super::calls::{GETPID, install_counting_sigsys_handler, time_getpid, unmet};
use super::watch::{BATCHES_FOR_CALLS, BATCHES_FOR_SWITCHES, Stopwatch};
use crate::arch::{self, OperationLoop};
use crate::case::{Check, Failure};
use crate::filter::{self, POINTER_HALF_OFFSETS, statement};
use crate::support::*;
use crate::sys;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use libc::{
    SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_RET_ALLOW, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF,
};
use std::ops::Range;

/// A filter that returns `action` for calls whose instruction pointer is in `range`, and allows all
/// other calls. The range must lie within one aligned block of 4 GiB.
fn filter_by_instruction_pointer(range: &Range<u64>, action: u32) -> Vec<sock_filter> {
    let [high_offset, low_offset] = POINTER_HALF_OFFSETS;
    let low_32_bits = |address: u64| u32::try_from(address & 0xffff_ffff).unwrap_or(0);
    let (load_code, jump_code) = (BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_K);
    vec![
        statement(load_code, 0, 0, high_offset),
        statement(jump_code | BPF_JEQ, 0, 4, low_32_bits(range.start >> 32)),
        statement(load_code, 0, 0, low_offset),
        statement(jump_code | BPF_JGE, 0, 2, low_32_bits(range.start)),
        statement(jump_code | BPF_JGE, 1, 0, low_32_bits(range.end)),
        statement(BPF_RET | BPF_K, 0, 0, action),
        statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
    ]
}

/// Installs a filter. Returns the descriptor of the filter's listener if `flags` contain
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, else 0.
///
/// # Errors
/// [`Failure::Unmet`] if the kernel refuses the filter.
fn install_filter(mut program: Vec<sock_filter>, flags: u64) -> Result<u64, Failure> {
    filter::install(&mut program, flags).map_err(unmet("a seccomp filter"))
}

/// Times calls under a filter that allows every call.
pub(super) fn bench_allow_all() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    install_filter(vec![statement(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW)], 0)?;
    time_getpid(&mut stopwatch, OperationLoop::call_outside(GETPID))?;
    stopwatch.store()
}

/// Times calls of the inside loop under a filter that traps only calls of the outside loop.
pub(super) fn bench_inside() -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    install_filter(
        filter_by_instruction_pointer(&arch::outside_loop_range(), SECCOMP_RET_TRAP),
        0,
    )?;
    time_getpid(&mut stopwatch, OperationLoop::call_inside(GETPID))?;
    stopwatch.store()
}

/// Times calls that a filter traps and a SIGSYS handler emulates.
pub(super) fn bench_trap() -> Check {
    install_counting_sigsys_handler()?;
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_CALLS)?;
    install_filter(
        filter_by_instruction_pointer(&arch::outside_loop_range(), SECCOMP_RET_TRAP),
        0,
    )?;
    stopwatch.time(|count| {
        let _ = OperationLoop::call_outside(GETPID).repeat(count);
    });
    stopwatch.expect_emulated(stopwatch.total())?;
    stopwatch.store()
}

/// The result that the supervisor gives each call. The value is too large for a process ID.
const SUPERVISOR_RESULT: i64 = 0x5e1f_0001;

/// Index of the shared word that holds the listener's descriptor plus one, or 0 before the filter
/// is installed.
const LISTENER_WORD: usize = 0;

/// The function of the supervisor thread: answers notifications until the process ends.
extern "C" fn supervise(_: u64) -> u64 {
    while shared_word(LISTENER_WORD) == 0 {
        sys::sched_yield();
    }
    let listener = shared_word(LISTENER_WORD) - 1;
    loop {
        // SAFETY: the structure consists of integers. The kernel requires that all of them are 0.
        let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the requests write and read these structures.
        unsafe {
            if sys::call(
                libc::SYS_ioctl,
                &[listener, SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification as u64],
            )
            .is_ok()
            {
                let (id, val) = (notification.id, SUPERVISOR_RESULT);
                let answer = libc::seccomp_notif_resp { id, val, error: 0, flags: 0 };
                let _ = sys::call(
                    libc::SYS_ioctl,
                    &[listener, SECCOMP_IOCTL_NOTIF_SEND, &raw const answer as u64],
                );
            }
        }
    }
}

/// Times calls that a filter hands to a supervisor thread, which gives each call a result.
pub(super) fn bench_notify() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_SWITCHES)?;
    // Start the thread before the filter is installed, because a later thread would inherit the
    // filter.
    spawn_thread(supervise, 0)?;
    let listener = install_filter(
        filter_by_instruction_pointer(&arch::outside_loop_range(), SECCOMP_RET_USER_NOTIF),
        SECCOMP_FILTER_FLAG_NEW_LISTENER,
    )?;
    set_shared_word(LISTENER_WORD, listener + 1);
    stopwatch.time(|count| {
        let _ = OperationLoop::call_outside(GETPID).repeat(count);
    });
    expect_equal(
        "result that the supervisor gave",
        OperationLoop::call_outside(GETPID).repeat(1),
        SUPERVISOR_RESULT,
    )?;
    stopwatch.store()
}
