// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A tracer that emulates calls.

use super::calls::{GETPID, refused};
use super::watch::{SWITCHES, Watch};
use crate::arch::Repeat;
use crate::case::Check;
use crate::ptrace::{self, CALL_STOP, SYSEMU};
use crate::support::*;
use crate::sys::Change;
use crate::tracee::{Tracee, pause_for_tracer};

/// The mark by which the tracee says that it is done.
const DONE: usize = 0;

/// The tracer only lets the tracee go on; whoever emulates reads and writes its registers too.
pub(super) fn sysemu() -> Check {
    let mut watch = Watch::start(SWITCHES)?;
    let total = watch.total();
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        watch.time(|count| {
            let _ = Repeat::outside(GETPID).run(count);
        });
        set_mark(DONE, 1);
        // A stop at which the tracer sees it.
        let _ = Repeat::outside(GETPID).run(1);
        1
    })?;
    let mut stops = 0;
    loop {
        ptrace::request(tracee.pid, SYSEMU, 0, 0).map_err(refused("PTRACE_SYSEMU"))?;
        let stop = end_of(tracee.pid)?;
        ensure(stop == Change::Stopped(CALL_STOP), "the tracee stops at a call", || {
            format!("it {stop}")
        })?;
        if mark(DONE) == 1 {
            break;
        }
        stops += 1;
    }
    tracee.kill()?;
    equal("stops at calls", stops, total)?;
    watch.keep()
}
