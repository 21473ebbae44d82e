// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The benchmark of a tracer that emulates calls.

use super::calls::{GETPID, unmet};
use super::watch::{BATCHES_FOR_SWITCHES, Stopwatch};
use crate::arch::OperationLoop;
use crate::case::Check;
use crate::ptrace::{self, CALL_STOP, SYSEMU};
use crate::support::*;
use crate::sys::WaitStatus;
use crate::tracee::{Tracee, pause_for_tracer};

/// The shared word that the tracee sets after its last batch.
const DONE: usize = 0;

/// Times calls that stop for a tracer. The tracer only resumes the tracee; a real emulator would
/// also access its registers.
pub(super) fn bench_sysemu() -> Check {
    let mut stopwatch = Stopwatch::start(BATCHES_FOR_SWITCHES)?;
    let total = stopwatch.total();
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        stopwatch.time(|count| {
            let _ = OperationLoop::call_outside(GETPID).repeat(count);
        });
        set_shared_word(DONE, 1);
        // One more stop, at which the tracer sees the shared word.
        let _ = OperationLoop::call_outside(GETPID).repeat(1);
        1
    })?;
    let mut stops = 0;
    loop {
        ptrace::request(tracee.pid, SYSEMU, 0, 0).map_err(unmet("PTRACE_SYSEMU"))?;
        let stop = wait_for_change(tracee.pid)?;
        ensure(stop == WaitStatus::Stopped(CALL_STOP), "the tracee stops at a call", || {
            format!("it {stop}")
        })?;
        if shared_word(DONE) == 1 {
            break;
        }
        stops += 1;
    }
    tracee.kill()?;
    expect_equal("stops at calls", stops, total)?;
    stopwatch.store()
}
