// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The model of random walks: predicts the events of a sequence of operations.

use super::Platform;
use super::call_model::{
    CallModel, Effect, FilterChain, SelectorBytes, SigsysReason, deliver_sigsys, error_result,
    filter_action,
};
use super::event::{Event, EventKind};
use super::operations::{
    CallSite, Disposition, FilterAction, INITIAL_UMASK, NewTask, Operation, PROGRAM_EXIT_CODE,
    ProgramLayout, Step,
};
use super::side_by_side::{self, Ending};
use crate::oracle::{Config, Decision};

/// The reason why a process ends before the end of its steps.
enum EarlyEnd {
    /// This signal killed the process.
    Killed(i32),
    /// The process executed another program, which has exited.
    Replaced,
}

/// The result of running steps in a process.
type StepsResult = Result<(), EarlyEnd>;

/// The state of a task (a thread of a process).
#[derive(Clone, Copy)]
struct Task {
    /// The configuration; mode 0 is off.
    config: Config,
    /// Whether SIGSYS is blocked.
    sigsys_blocked: bool,
    /// `None` if the task is not traced.
    tracing: Option<Tracing>,
    /// Whether the task may execute programs; see [`Call::permitted`](super::operations::Call::permitted).
    may_exec: bool,
    /// The index of the thread's filters in [`Process::chains`].
    thread: usize,
}

/// The tracing of a task.
#[derive(Clone, Copy)]
struct Tracing {
    /// Whether the task stops at system calls.
    stops_at_calls: bool,
    /// Whether the tracer attached by `PTRACE_SEIZE`.
    is_seized: bool,
    /// The number of the step that started the task. The tracer's events belong to this step.
    tracer_step: u16,
}

/// The state that the threads of a process share.
#[derive(Clone)]
struct Process {
    disposition: Disposition,
    umask: u64,
    /// The seccomp filters of each thread that has not ended, the first thread first.
    chains: Vec<FilterChain>,
}

impl Process {
    /// The process that the thread with this index forks: it has one thread, with the same filters.
    fn forked(&self, thread: usize) -> Process {
        Process { chains: vec![self.chains[thread].clone()], ..*self }
    }
}

/// Predicts all events of a sequence, in one of the orders that the model permits.
#[must_use]
pub fn predict(steps: &[Step], layout: &ProgramLayout, platform: Platform) -> Vec<Event> {
    predict_matching(steps, layout, platform, None)
}

/// Predicts all events of a sequence, in order. Threads side by side permit many orders of events; the
/// prediction has the observed order if the model permits that order. `observed` has the observed events and
/// the kernel's release.
#[must_use]
pub fn predict_matching(
    steps: &[Step],
    layout: &ProgramLayout,
    platform: Platform,
    observed: Option<(&[Event], (u32, u32))>,
) -> Vec<Event> {
    let call_model = CallModel { layout, platform };
    let mut model = Model { call_model, observed, events: Vec::new() };
    let mut bytes = [0; 2];
    let task = Task {
        config: Config::default(),
        sigsys_blocked: false,
        tracing: None,
        may_exec: true,
        thread: 0,
    };
    let process = Process {
        disposition: Disposition::Handler,
        umask: INITIAL_UMASK,
        chains: vec![FilterChain::new()],
    };
    model.run_process(0, steps, task, process, &mut bytes);
    model.events
}

struct Model<'a> {
    call_model: CallModel<'a>,
    /// The observed events and the kernel's release.
    observed: Option<(&'a [Event], (u32, u32))>,
    /// The predicted events so far.
    events: Vec<Event>,
}

impl Model<'_> {
    fn record(&mut self, step: u16, kind: EventKind) {
        self.events.push(Event { step, kind });
    }

    /// Predicts the events of a process from its start to its end. The events of the end belong to `step`, the
    /// step that started the process.
    fn run_process(
        &mut self,
        step: u16,
        steps: &[Step],
        mut task: Task,
        mut process: Process,
        bytes: &mut SelectorBytes,
    ) {
        match self.run_steps(steps, &mut task, &mut process, bytes) {
            Ok(()) => {
                self.record(step, EventKind::FinalUmask(process.umask));
                self.record(step, EventKind::Exited(0));
            }
            Err(EarlyEnd::Replaced) => {
                self.record(step, EventKind::Exited(PROGRAM_EXIT_CODE.into()));
            }
            Err(EarlyEnd::Killed(signal)) => self.record(step, EventKind::Killed(signal)),
        }
    }

    /// Predicts the events of steps of a task.
    fn run_steps(
        &mut self,
        steps: &[Step],
        task: &mut Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        for step in steps {
            match &step.operation {
                Operation::Call { .. } => self.run_call(step, task, process, bytes)?,
                Operation::Flip { byte, value } => bytes[*byte] = *value,
                Operation::SetDisposition(disposition) => process.disposition = *disposition,
                Operation::SetSigsysBlocked(blocked) => task.sigsys_blocked = *blocked,
                Operation::RaiseSigusr1(body) => {
                    if let Some(Tracing { tracer_step, .. }) = task.tracing {
                        self.record(tracer_step, EventKind::Stopped(libc::SIGUSR1));
                    }
                    let blocked = task.sigsys_blocked;
                    self.run_steps(body, task, process, bytes)?;
                    task.sigsys_blocked = blocked;
                }
                Operation::StartTask(new_task, body) => {
                    self.run_new_task(step.number, *new_task, body, *task, process, bytes)?;
                }
                Operation::SetByTracer(arguments) => {
                    if let Some(Tracing { tracer_step, .. }) = task.tracing {
                        let arguments = self.call_model.layout.arguments(*arguments);
                        let error = self.call_model.configure(&mut task.config, arguments);
                        self.record(tracer_step, EventKind::SetByTracer(error));
                        self.record(tracer_step, EventKind::ConfigRead(task.config));
                    }
                }
                Operation::InstallFilter { filter, for_all_threads } => {
                    process.chains[task.thread].push((step.number, *filter));
                    if *for_all_threads {
                        let chain = process.chains[task.thread].clone();
                        process.chains.fill(chain);
                    }
                    self.record(
                        step.number,
                        EventKind::Returned { result: 0, others_preserved: true },
                    );
                }
                Operation::SideBySide(body) => {
                    self.run_side_by_side(step, body, task, process, bytes)?
                }
                Operation::Yield => {}
            }
        }
        Ok(())
    }

    /// Predicts the events of a new task. A new task is not armed (`copy_process()`).
    fn run_new_task(
        &mut self,
        step: u16,
        new_task: NewTask,
        body: &[Step],
        parent: Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let mut task = Task { config: Config::default(), tracing: None, ..parent };
        if new_task == NewTask::Thread {
            task.may_exec = parent.may_exec && parent.tracing.is_none();
            task.thread = process.chains.len();
            process.chains.push(process.chains[parent.thread].clone());
            self.run_steps(body, &mut task, process, bytes)?;
            process.chains.pop();
            return Ok(());
        }
        let child = process.forked(parent.thread);
        (task.may_exec, task.thread) = (true, 0);
        match new_task {
            NewTask::Vfork => self.run_process(step, body, task, child, bytes),
            NewTask::Traced { stops_at_calls, is_seized } => {
                task.tracing = Some(Tracing { stops_at_calls, is_seized, tracer_step: step });
                self.run_process(step, body, task, child, &mut bytes.clone());
            }
            _ => self.run_process(step, body, task, child, &mut bytes.clone()),
        }
        Ok(())
    }

    /// Predicts the events of threads side by side.
    fn run_side_by_side(
        &mut self,
        step: &Step,
        body: &[Step],
        task: &Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let start = side_by_side::Start {
            bytes: *bytes,
            umask: process.umask,
            disposition: process.disposition,
            sigsys_blocked: task.sigsys_blocked,
            chain: process.chains[task.thread].clone(),
        };
        let observed = self.observed.map(|(events, release)| {
            (events.get(self.events.len()..).unwrap_or_default(), release)
        });
        let outcome = side_by_side::predict(self.call_model, step, body, start, observed);
        self.events.extend(outcome.events);
        match outcome.ending {
            Ending::Killed(signal) => Err(EarlyEnd::Killed(signal)),
            Ending::Completed { filters_of_all_threads } => {
                *bytes = [0; 2];
                process.umask = INITIAL_UMASK;
                process.disposition = Disposition::Handler;
                if let Some(chain) = filters_of_all_threads {
                    process.chains.fill(chain);
                }
                Ok(())
            }
        }
    }

    /// Predicts the events of a call. If the call causes SIGSYS, the handler runs, and then the call is
    /// issued a second time if the step says so.
    fn run_call(
        &mut self,
        step: &Step,
        task: &mut Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let Operation::Call { site, call, handler, reissues, is_in_section } = &step.operation
        else {
            return Ok(());
        };
        let call = self.call_model.call(*site, call.permitted(task.may_exec));
        let has_section =
            *is_in_section && *site == CallSite::FirstGate && self.call_model.platform.has_sections;
        for round in 0..2 {
            let reason = match self.call_model.decide(&task.config, call.address, bytes) {
                Decision::Kill(signal) => return Err(EarlyEnd::Killed(signal)),
                Decision::Dispatch => SigsysReason::Dispatch,
                Decision::Pass => {
                    if let Some(Tracing { stops_at_calls: true, tracer_step, .. }) = task.tracing
                        && *site != CallSite::Inside
                    {
                        let number = i64::from(call.number).cast_unsigned();
                        let instruction_pointer = call.address;
                        let entry = EventKind::CallEntry { number, instruction_pointer };
                        self.record(tracer_step, entry);
                    }
                    let result = match filter_action(&process.chains[task.thread], *site) {
                        Some(FilterAction::Kill) => return Err(EarlyEnd::Killed(libc::SIGSYS)),
                        Some(FilterAction::Errno(errno)) => Ok(error_result(errno.into())),
                        Some(FilterAction::Trap(data)) => Err(data),
                        None => {
                            let umask = &mut process.umask;
                            match self.call_model.execute(&call, &mut task.config, umask) {
                                Effect::Returns(result) => Ok(result),
                                Effect::ReplacesProgram => return self.replace_program(task),
                            }
                        }
                    };
                    match result {
                        Ok(result) => {
                            let returned = EventKind::Returned { result, others_preserved: true };
                            self.record(step.number, returned);
                            return Ok(());
                        }
                        Err(data) => SigsysReason::Filter(data),
                    }
                }
            };
            if let Some(Tracing { tracer_step, .. }) = task.tracing {
                self.record(tracer_step, EventKind::Stopped(libc::SIGSYS));
            }
            let runs_unblocked = process.disposition == Disposition::NoDefer;
            if !deliver_sigsys(&mut process.disposition, task.sigsys_blocked) {
                return Err(EarlyEnd::Killed(libc::SIGSYS));
            }
            // rseq_signal_deliver() aborts the critical section, so the second round runs outside it.
            let continues_at = if has_section && round == 0 {
                self.call_model.layout.abort_address
            } else {
                call.address
            };
            self.record(step.number, self.call_model.sigsys(&call, reason, continues_at));
            if round == 1 {
                break;
            }
            task.sigsys_blocked = !runs_unblocked;
            self.run_steps(handler, task, process, bytes)?;
            task.sigsys_blocked = false;
            if !reissues {
                break;
            }
        }
        let result = call.result_after_rollback;
        self.record(step.number, EventKind::Returned { result, others_preserved: true });
        Ok(())
    }

    /// Predicts the events of a successful exec. The kernel sends SIGTRAP to a task that is traced by
    /// `PTRACE_TRACEME` (`exec_binprm()`).
    fn replace_program(&mut self, task: &Task) -> StepsResult {
        if let Some(Tracing { is_seized: false, tracer_step, .. }) = task.tracing {
            self.record(tracer_step, EventKind::Stopped(libc::SIGTRAP));
        }
        Err(EarlyEnd::Replaced)
    }
}
