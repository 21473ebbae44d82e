// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Dispatch together with time slice extensions (Documentation/userspace-api/rseq.rst). A thread that
//! requested an extension keeps its CPU for 5 microseconds when another task should run.

use crate::arch::{self, Registers};
use crate::case::{Check, Failure, Need};
use crate::cases::rseq_long::{AREA, register_area};
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

// Constants of include/uapi/linux/prctl.h.
const PR_RSEQ_SLICE_EXTENSION: i32 = 79;
const PR_RSEQ_SLICE_EXTENSION_SET: u64 = 2;
const PR_RSEQ_SLICE_EXT_ENABLE: u64 = 1;
/// The number of extensions that must go on after a trap. On a machine that is too slow an extension ends
/// during the trap, because its time is over.
const NEEDED_SURVIVALS: u32 = 3;
/// The largest number of extensions that are tried.
const MAX_TRIES: u32 = 200;
/// The interval between two interrupts by the competing task.
const INTERRUPT_INTERVAL: Duration = Duration::from_micros(300);
/// The longest wait for an extension.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The number of reads of the area between two reads of the clock. A read of the clock may be a system call.
const READS_BETWEEN_TIMES: u32 = 1 << 16;

/// `granted` of the area, as the last handler read it.
static GRANTED_IN_HANDLER: AtomicU8 = AtomicU8::new(0);

/// The handler of SIGTRAP.
extern "C" fn on_trap(_: i32, _: *const u8, _: *const u8) {
    record_granted();
}

/// Stores [`GRANTED_IN_HANDLER`].
fn record_granted() {
    GRANTED_IN_HANDLER.store(AREA.granted.load(Ordering::SeqCst), Ordering::SeqCst);
}

pub(crate) fn slice_ended() -> Check {
    let gate = arch::gate();
    handle_dispatches(|_| record_granted())?;
    install_handler(libc::SIGTRAP, on_trap as *const () as u64, 0, 0, arch::restorer())?;
    pin_to_current_cpu()?;
    register_area(&gate)?;
    // SAFETY: the kernel changes a flag of this thread.
    unsafe {
        sys::prctl(
            PR_RSEQ_SLICE_EXTENSION,
            PR_RSEQ_SLICE_EXTENSION_SET,
            PR_RSEQ_SLICE_EXT_ENABLE,
            0,
            0,
        )
    }
    .map_err(broken("prctl(PR_RSEQ_SLICE_EXTENSION)"))?;
    let competitor = spawn_child(compete)?;
    let umask_call = fresh_umask_call();
    let allowed_call = Registers::for_call(call_number(libc::SYS_getpid), [0; 6]);
    arm()?;
    // The numbers of extensions that go on after a trap, after an allowed call, and in the handler of a
    // dispatch.
    let [mut after_trap, mut after_call, mut in_handler] = [0; 3];
    for _ in 0..MAX_TRIES {
        wait_for_extension()?;
        // SAFETY: a handler of SIGTRAP is installed.
        unsafe { std::arch::asm!("int3") };
        after_trap += u32::from(GRANTED_IN_HANDLER.load(Ordering::SeqCst));
        wait_for_extension()?;
        let _ = gate.issue(&allowed_call);
        after_call += u32::from(AREA.granted.load(Ordering::SeqCst));
        wait_for_extension()?;
        let _ = issue_blocked(&gate, &umask_call);
        in_handler += u32::from(GRANTED_IN_HANDLER.load(Ordering::SeqCst));
        if after_trap >= NEEDED_SURVIVALS {
            break;
        }
    }
    disarm()?;
    sys::kill(competitor, libc::SIGKILL).map_err(broken("kill"))?;
    let _ = wait_for_change(competitor)?;
    expect_equal("an extension goes on after an allowed call", after_call > 0, false)?;
    expect_equal("an extension goes on in the handler", in_handler > 0, false)?;
    if after_trap < NEEDED_SURVIVALS {
        return Err(Failure::Unmet(Need::FastMachine.to_string()));
    }
    Ok(())
}

/// Makes this process a real-time task, which interrupts the other tasks of its CPU until it is killed.
fn compete() -> i32 {
    let priority = libc::sched_param { sched_priority: 1 };
    let words = [0, u64::from(libc::SCHED_FIFO.cast_unsigned()), &raw const priority as u64];
    // SAFETY: the kernel reads the structure.
    if unsafe { sys::call(libc::SYS_sched_setscheduler, &words) }.is_err() {
        return 1;
    }
    loop {
        sys::sleep(INTERRUPT_INTERVAL);
    }
}

/// Requests extensions until this thread has one.
fn wait_for_extension() -> Check {
    let start = sys::now();
    while sys::now() - start < LONGEST_WAIT {
        for _ in 0..READS_BETWEEN_TIMES {
            if AREA.granted.load(Ordering::SeqCst) != 0 {
                return Ok(());
            }
            // With both fields at 0 there is neither a request nor an extension. With RSEQ debugging the
            // kernel kills a thread that changes the fields while it has an extension
            // (rseq_slice_validate_ctrl()).
            if AREA.request.load(Ordering::SeqCst) == 0 && AREA.granted.load(Ordering::SeqCst) == 0
            {
                AREA.request.store(1, Ordering::SeqCst);
            }
        }
    }
    Err(Failure::Broken("the kernel grants no time slice extension".into()))
}
