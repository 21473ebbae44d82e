// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A tracer that reads and sets the configuration of its tracee at the events fork, vfork, clone and exec.

use super::inheritance::{execute, program};
use super::ptrace::armed_config;
use crate::arch;
use crate::case::{Case, Check, Failure, OnlyArchs, case};
use crate::support::*;
use crate::sys::{self, WaitStatus};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use sudbox_protocol::{Arch, Feature};

pub(super) const CASES: &[Case] = &[case(
    "ptrace/configuration-at-events",
    "at the events of fork, vfork and clone the parent is armed and the child is not; at the event of exec \
     the program is not armed, and a configuration that the tracer sets then takes effect",
    "begin_new_exec()",
    configuration_at_events,
)
.features(&[Feature::Dispatch, Feature::PtraceConfig])
.only(OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "the order of the events was compared with kernels of x86-64 only",
})];

/// The events of `include/uapi/linux/ptrace.h` in the order in which the tracee causes them.
const EVENTS: [i32; 4] = [
    libc::PTRACE_EVENT_FORK,
    libc::PTRACE_EVENT_VFORK,
    libc::PTRACE_EVENT_CLONE,
    libc::PTRACE_EVENT_EXEC,
];

/// The index of the shared word that a new thread sets to 1 at its end.
const THREAD_ENDED: usize = 0;

/// Issues a call with the selector at BLOCK. Returns the exit code: 0 if the call was executed.
fn check_call_executed() -> i32 {
    let call = fresh_umask_call();
    set_selector(BLOCK);
    let _ = arch::gate().issue(&call);
    set_selector(ALLOW);
    exit_code(take_umask_effect())
}

/// A thread that sets [`THREAD_ENDED`].
extern "C" fn report_end(_: u64) -> u64 {
    set_shared_word(THREAD_ENDED, 1);
    0
}

/// Causes the [`EVENTS`] in the tracee. The last event replaces the program by the program in the file `fd`.
/// Returns an exit code if the execution fails.
fn cause_events(fd: i32) -> Result<i32, Failure> {
    arm()?;
    pause_for_tracer();
    expect_success(wait_for_change(spawn_child(check_call_executed)?)?)?;
    expect_success(run_vforked(check_call_executed)?)?;
    spawn_thread(report_end, 0)?;
    await_shared_word(THREAD_ENDED, 1);
    execute(fd);
    Ok(SETUP_FAILED)
}

fn configuration_at_events() -> Check {
    handle_dispatches(do_nothing)?;
    let fd = program()?;
    let tracee = Tracee::start(|| cause_events(fd).unwrap_or(SETUP_FAILED))?;
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC;
    tracee
        .request(libc::PTRACE_SETOPTIONS, 0, u64::from(options.cast_unsigned()))
        .map_err(refused_request("PTRACE_SETOPTIONS"))?;
    let resume = |pid: i32, signal: i32| {
        Tracee { pid }
            .request(libc::PTRACE_CONT, 0, u64::from(signal.cast_unsigned()))
            .map_err(refused_request("PTRACE_CONT"))
    };
    resume(tracee.pid, 0)?;
    let mut events = Vec::new();
    let mut stopped_children = 0;
    loop {
        let waited = sys::wait(-1, libc::__WALL).map_err(broken("wait4"))?;
        let Some((pid, status)) = waited else { return Err(Failure::Broken("wait4".into())) };
        let is_tracee = pid == tracee.pid;
        match status {
            // A stop at an event: the event is in the bits above the signal.
            WaitStatus::Stopped(stop) if is_tracee && stop >> 8 != 0 => {
                let event = stop >> 8;
                events.push(event);
                if event == libc::PTRACE_EVENT_EXEC {
                    break;
                }
                expect_equal("configuration of a parent", tracee.config()?, armed_config())?;
                resume(pid, 0)?;
            }
            WaitStatus::Stopped(libc::SIGSTOP) if !is_tracee => {
                expect_equal(
                    "mode of a child at its first stop",
                    Tracee { pid }.config()?.mode,
                    MODE_OFF,
                )?;
                stopped_children += 1;
                resume(pid, 0)?;
            }
            WaitStatus::Stopped(libc::SIGCHLD) => drop(resume(pid, libc::SIGCHLD)?),
            WaitStatus::Exited(0) if !is_tracee => {}
            other => {
                let process = if is_tracee { "the tracee" } else { "a child" };
                return Err(mismatch(
                    "children end, then the tracee executes",
                    format!("{process} {other}"),
                ));
            }
        }
    }
    expect_equal("events", events.as_slice(), &EVENTS[..])?;
    expect_equal("children that stopped", stopped_children, 3)?;
    expect_equal("mode at the event of exec", tracee.config()?.mode, MODE_OFF)?;
    // With an empty range every call is dispatched. The new program has no handler of SIGSYS.
    expect_equal(
        "setting",
        tracee.set_config(&Config { mode: MODE_EXCLUSIVE, ..Config::default() }),
        Ok(()),
    )?;
    tracee.resume_to_signal(libc::PTRACE_CONT, 0, libc::SIGSYS)?;
    expect_killed(tracee.resume(libc::PTRACE_CONT, libc::SIGSYS)?, libc::SIGSYS, 0)
}
