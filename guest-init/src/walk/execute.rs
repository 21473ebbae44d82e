// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Executes a sequence on this kernel and records the observed events.
//!
//! From the first step on, a task issues each system call either through a gate or from the allowed
//! range, so it must not allocate, format or panic.

use super::coverage::start_coverage_of_this_task;
use super::event::{Event, EventKind, TSYNC_REFUSED};
use super::event_log::{self, event_log, record, record_end, record_final_umask};
use super::operations::{
    Call, CallSite, Disposition, Filter, FilterAction, INITIAL_UMASK, Operation, Step,
};
use super::program_layout::{self, gate_with_uprobe, program_layout};
use super::registers::{number_and_arguments, registers};
use super::section::{self, FIRST_AREA};
use super::task::{STEP_OF_SIGUSR1, StepHolder, StepInProgress, Task, step_of_call};
use super::{tasks, threads};
use crate::arch::{self, Reg, UserContext};
use crate::case::Failure;
use crate::filter::{self, POINTER_HALF_OFFSETS, statement};
use crate::rseq;
use crate::shared::SigsysRecord;
use crate::support::{spawn_child, wait_for_change};
use crate::sys::{self, SigAction};
use std::sync::atomic::{AtomicU32, Ordering};

/// Seconds after which SIGALRM kills a sequence. On an idle machine a sequence takes milliseconds.
const TIME_LIMIT_SECONDS: u64 = 8;

/// Executes a sequence in a child process. Returns the observed events in order.
///
/// # Errors
/// If the child cannot be started.
pub(super) fn execute(steps: &[Step]) -> Result<Vec<Event>, Failure> {
    event_log::clear();
    let child = spawn_child(|| {
        start_coverage_of_this_task();
        // `struct itimerval`: seconds and microseconds of the interval (0: one signal), then of the delay.
        let timer = [0, 0, TIME_LIMIT_SECONDS, 0];
        let which = u64::from(libc::ITIMER_REAL.cast_unsigned());
        // SAFETY: reads the timer.
        let set_up = unsafe {
            sys::call(libc::SYS_setitimer, &[which, timer.as_ptr() as u64, 0])
                .and_then(|_| sys::call(libc::SYS_umask, &[INITIAL_UMASK]))
        };
        if let Err(error) = set_up
            .and_then(|_| install_usr1_handler())
            .and_then(|()| set_disposition(Disposition::Handler))
            .and_then(|()| section::register(&FIRST_AREA))
        {
            record(0, EventKind::OwnCallFailed(error.0));
        }
        run_steps(steps, Task { is_tracee: false, may_exec: true, rseq: &FIRST_AREA, run_steps });
        record_final_umask(0)
    })?;
    record_end(0, wait_for_change(child)?);
    Ok(event_log::events())
}

/// Executes steps in this task.
fn run_steps(steps: &[Step], task: Task<'_>) {
    for step in steps {
        let result = match &step.operation {
            Operation::Call { site, call, is_in_section, .. } => {
                issue_call(step, *site, call.permitted(task.may_exec), *is_in_section, task);
                Ok(())
            }
            Operation::Flip { byte, value } => {
                program_layout::SELECTORS[*byte].store(*value, Ordering::SeqCst);
                Ok(())
            }
            Operation::SetDisposition(disposition) => set_disposition(*disposition),
            Operation::SetSigsysBlocked(blocked) => {
                let how = if *blocked { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
                sys::sigmask(how, sys::signal_bit(libc::SIGSYS)).map(drop)
            }
            Operation::RaiseSigusr1(_) => {
                with_step_in_progress(&STEP_OF_SIGUSR1, step, task, None, || {
                    sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1)
                })
            }
            Operation::StartTask(new_task, body) => {
                tasks::start_task(step.number, *new_task, body, task)
            }
            Operation::SetByTracer(arguments) if task.is_tracee => {
                // SAFETY: the tracer reads it only while this task is stopped.
                unsafe {
                    *event_log().requested_configuration.get() =
                        program_layout().arguments(*arguments)
                };
                sys::kill(sys::getpid(), libc::SIGSTOP)
            }
            Operation::SetByTracer(_) => Ok(()),
            Operation::InstallFilter { filter, for_all_threads } => {
                install_filter(*filter, *for_all_threads).map(|thread| {
                    let result = if thread == 0 { 0 } else { TSYNC_REFUSED };
                    record(step.number, EventKind::Returned { result, others_preserved: true });
                })
            }
            Operation::SideBySide(body) => {
                threads::run_side_by_side(body, run_steps).and_then(|()| reset_after_threads())
            }
            Operation::Yield => {
                sys::sched_yield();
                Ok(())
            }
        };
        if let Err(error) = result {
            record(step.number, EventKind::OwnCallFailed(error.0));
        }
    }
}

/// Resets the state that threads shared while they ran side by side: the selectors, the umask and the
/// disposition of SIGSYS.
fn reset_after_threads() -> sys::Result<()> {
    for selector in &program_layout::SELECTORS {
        selector.store(0, Ordering::SeqCst);
    }
    // SAFETY: touches no memory.
    unsafe { sys::call(libc::SYS_umask, &[INITIAL_UMASK]) }?;
    set_disposition(Disposition::Handler)
}

/// Runs a function while `holder` holds the step in progress for the signal handlers.
fn with_step_in_progress<T>(
    holder: &StepHolder,
    step: &Step,
    task: Task<'_>,
    switches_before: Option<i64>,
    run: impl FnOnce() -> T,
) -> T {
    let signals = AtomicU32::new(0);
    let mut current = StepInProgress { step, task, signals, switches_before };
    // The holder's type has a static lifetime, but handlers use the step only while `run` runs.
    let before = holder.swap((&raw mut current).cast(), Ordering::SeqCst);
    let result = run();
    holder.store(before, Ordering::SeqCst);
    result
}

/// Issues the call of a step and records the return of the call.
fn issue_call(step: &Step, site: CallSite, call: Call, is_in_section: bool, task: Task<'_>) {
    let gate = match site {
        CallSite::Inside => {
            let (number, arguments) = number_and_arguments(site, call, &program_layout());
            // SAFETY: none of these calls touches memory; the selector is only read.
            let result = unsafe { arch::issue_inside(number, arguments) }.cast_unsigned();
            record(step.number, EventKind::Returned { result, others_preserved: true });
            return;
        }
        CallSite::FirstGate => arch::gate(),
        CallSite::SecondGate => arch::second_gate(),
        CallSite::CompatGate => arch::compat_gate(),
        CallSite::GateWithUprobe => gate_with_uprobe(),
    };
    let regs = registers(site, call, &program_layout());
    let is_in_section = is_in_section && site == CallSite::FirstGate;
    let holder = step_of_call();
    let switches_before = is_in_section.then(rseq::context_switches).and_then(Result::ok);
    let after = with_step_in_progress(holder, step, task, switches_before, || {
        if is_in_section {
            section::start_section(task.rseq);
        }
        let after = gate.issue(&regs);
        if is_in_section {
            section::end_section(task.rseq);
        }
        after
    });
    let others_preserved = Reg::ALL.into_iter().all(|reg| {
        let may_differ = [Reg::RESULT, Reg::Sp, Reg::INSTRUCTION_POINTER].contains(&reg);
        may_differ || Reg::CLOBBERED_BY_CALL.contains(&reg) || after[reg] == regs[reg]
    });
    record(step.number, EventKind::Returned { result: after[Reg::RESULT], others_preserved });
}

extern "C" fn on_sigsys(_: i32, info: *const [u8; 128], frame: *mut UserContext) {
    // SAFETY: `with_step_in_progress` sets the step while a call is issued, and the step outlives
    // the call.
    let current = unsafe { step_of_call().load(Ordering::SeqCst).as_ref() };
    let switches_before = current.and_then(|current| current.switches_before);
    let is_disturbed = switches_before.is_some_and(|count| rseq::context_switches() != Ok(count));
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO.
    let (info, frame) = unsafe { (*info, &mut *frame) };
    let registers = frame.registers;
    let record_of_signal = SigsysRecord { info, registers, flags: 0, stack: 0, frame_mask: 0 };
    let event = EventKind::SigsysHandled {
        number: record_of_signal.number(),
        code: record_of_signal.code(),
        errno: record_of_signal.errno(),
        arch: record_of_signal.arch(),
        call_address: record_of_signal.call_address(),
        result: registers[Reg::RESULT],
        continues_at: registers[Reg::INSTRUCTION_POINTER],
        is_disturbed,
    };
    let Some(current) = current else { return record(0, event) };
    record(current.step.number, event);
    let Operation::Call { site, handler, reissues, .. } = &current.step.operation else { return };
    if current.signals.fetch_add(1, Ordering::SeqCst) > 0 {
        return;
    }
    run_steps(handler, current.task);
    if *reissues {
        frame.registers[Reg::INSTRUCTION_POINTER] =
            program_layout().compared_address(*site) - arch::CALL_LENGTH;
    }
}

extern "C" fn on_sigusr1(_: i32, _: *const u8, _: *mut UserContext) {
    // SAFETY: `with_step_in_progress` sets the step, and resets it only after the signal is handled.
    if let Some(current) = unsafe { STEP_OF_SIGUSR1.load(Ordering::SeqCst).as_ref() } {
        run_steps(current.step.body(), current.task);
    }
}

fn set_disposition(disposition: Disposition) -> sys::Result<()> {
    let handler = on_sigsys as *const () as u64;
    let (handler, flags) = match disposition {
        Disposition::Handler => (handler, 0),
        Disposition::NoDefer => (handler, libc::SA_NODEFER),
        Disposition::ResetHand => (handler, libc::SA_RESETHAND),
        Disposition::Default => (0, 0),
        Disposition::Ignored => (1, 0),
    };
    install_handler(libc::SIGSYS, handler, flags)
}

fn install_usr1_handler() -> sys::Result<()> {
    install_handler(libc::SIGUSR1, on_sigusr1 as *const () as u64, libc::SA_NODEFER)
}

fn install_handler(signal: i32, handler: u64, flags: i32) -> sys::Result<()> {
    let flags = u64::from((flags | libc::SA_SIGINFO).cast_unsigned()) | sys::SA_RESTORER;
    let action = SigAction { handler, flags, restorer: arch::restorer(), mask: 0 };
    // SAFETY: both addresses are those of signal handlers.
    unsafe { sys::sigaction(signal, &action) }
}

/// Installs a filter for this thread or for all threads. Returns the result of `seccomp(2)`.
fn install_filter(filter: Filter, for_all_threads: bool) -> sys::Result<u64> {
    let [high_offset, low_offset] = POINTER_HALF_OFFSETS;
    let address = program_layout().compared_address(filter.site);
    #[allow(clippy::cast_possible_truncation)]
    let (low, high) = (address as u32, (address >> 32) as u32);
    let action = match filter.action {
        FilterAction::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        FilterAction::Trap(data) => libc::SECCOMP_RET_TRAP | u32::from(data),
        FilterAction::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equals = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    let mut program = [
        statement(load, 0, 0, low_offset),
        statement(equals, 0, 3, low),
        statement(load, 0, 0, high_offset),
        statement(equals, 0, 1, high),
        statement(ret, 0, 0, action),
        statement(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let flags = if for_all_threads { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 };
    filter::install(&mut program, flags)
}
