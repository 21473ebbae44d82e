// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The model of random walks: predicts the events of a sequence of operations.

use super::Platform;
use super::operations::{Call, CallSite, Disposition, Layout, NewTask, Operation, Selector, Step};
use crate::arch::{
    AUDIT_ARCH, AUDIT_ARCH_COMPAT, COMPAT_UMASK, Reg, Registers, UNUSED_NUMBER, compat_call,
};
use crate::oracle::{Config, Decision, Rules};
use crate::sys::PR_SET_SYSCALL_USER_DISPATCH;

/// An observable event of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the step; 0 for the end of the sequence.
    pub step: u16,
    /// The kind of the event, with its details.
    pub kind: EventKind,
}

/// The kind of an event, with its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The handler of SIGSYS was entered.
    Dispatched {
        /// `si_syscall`
        number: i32,
        /// `si_code`
        code: i32,
        /// `si_errno`
        errno: i32,
        /// `si_arch`
        arch: u32,
        /// `si_call_addr`
        call_address: u64,
        /// The result register in the frame.
        result: u64,
    },
    /// A call returned.
    Returned {
        /// The result register.
        result: u64,
        /// Whether all other registers have the values that they had at the call.
        preserved: bool,
    },
    /// The tracee stopped for this signal.
    Stopped(i32),
    /// The tracee stopped at the entry of a call outside the allowed range.
    CallEntry {
        /// The number.
        number: u64,
        /// The address after the system call instruction.
        instruction_pointer: u64,
    },
    /// The tracer set the configuration, with this result: 0 or an error number.
    SetByTracer(i32),
    /// The tracer read this configuration.
    ConfigRead(Config),
    /// A process had this umask(2) at its end.
    FinalUmask(u64),
    /// A process exited with this code.
    Exited(i32),
    /// A process was killed by this signal.
    Killed(i32),
    /// An operation that is not under test failed with this error number. The model never predicts this
    /// event.
    SetupFailed(i32),
}

/// The last release with the bugs that [`Event::allows`] tolerates.
const LAST_RELEASE_WITH_BUGS: (u32, u32) = (7, 3);

impl Event {
    /// Whether an observed event matches this predicted one.
    ///
    /// Two known kernel bugs are tolerated on releases up to [`LAST_RELEASE_WITH_BUGS`]. With
    /// `stale-config-after-clear` the other fields of a configuration stay when its mode becomes 0, so
    /// only the mode is compared. With `inclusive-get-set` a tracer may read an inclusive configuration
    /// as the exclusive configuration of the complementary range.
    #[must_use]
    pub fn allows(&self, seen: &Event, release: (u32, u32)) -> bool {
        let (EventKind::ConfigRead(expected), EventKind::ConfigRead(read)) = (self.kind, seen.kind)
        else {
            return self == seen;
        };
        let complement = Config {
            mode: 1,
            offset: expected.offset.wrapping_add(expected.length),
            length: expected.length.wrapping_neg(),
            ..expected
        };
        let tolerated = release <= LAST_RELEASE_WITH_BUGS;
        self.step == seen.step
            && match expected.mode {
                0 if tolerated => read.mode == 0,
                2 if tolerated => read == expected || read == complement,
                _ => read == expected,
            }
    }
}

/// The death of a process by this signal.
struct Killed(i32);

/// The result of running steps in a process: an error if a signal killed it.
type StepsResult = Result<(), Killed>;

/// The state of a thread.
#[derive(Clone, Copy)]
struct Task {
    /// The configuration; mode 0 is off.
    config: Config,
    /// Whether SIGSYS is blocked.
    sigsys_blocked: bool,
    /// The tracing of a tracee.
    tracing: Option<Tracing>,
}

/// The tracing of a task.
#[derive(Clone, Copy)]
struct Tracing {
    /// Whether the task stops at system calls.
    stops_at_calls: bool,
    /// The number of the step that started the task. The tracer's events belong to this step.
    tracer_step: u16,
}

/// The state that the threads of a process share.
#[derive(Clone, Copy)]
struct Process {
    disposition: Disposition,
    umask: u64,
}

/// The selector bytes, which tasks with the same memory share.
type SelectorBytes = [u8; 2];

/// The umask(2) at the beginning of a sequence.
pub const INITIAL_UMASK: u64 = 0o22;

/// Predicts all events of a sequence, in order.
#[must_use]
pub fn predict(steps: &[Step], layout: &Layout, platform: Platform) -> Vec<Event> {
    let mut model = Model { layout, platform, events: Vec::new() };
    let mut bytes = [0; 2];
    let task = Task { config: Config::default(), sigsys_blocked: false, tracing: None };
    let process = Process { disposition: Disposition::Handler, umask: INITIAL_UMASK };
    model.run_process(0, steps, task, process, &mut bytes);
    model.events
}

struct Model<'a> {
    layout: &'a Layout,
    platform: Platform,
    events: Vec<Event>,
}

impl Model<'_> {
    fn record(&mut self, step: u16, kind: EventKind) {
        self.events.push(Event { step, kind });
    }

    /// Predicts the events of a process from its start to its end.
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
            Err(Killed(signal)) => self.record(step, EventKind::Killed(signal)),
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
                        let error = self.configure(task, self.layout.arguments(*arguments));
                        self.record(tracer_step, EventKind::SetByTracer(error));
                        self.record(tracer_step, EventKind::ConfigRead(task.config));
                    }
                }
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
        match new_task {
            NewTask::Thread => return self.run_steps(body, &mut task, process, bytes),
            NewTask::Vfork => self.run_process(step, body, task, *process, bytes),
            NewTask::Fork => self.run_process(step, body, task, *process, &mut bytes.clone()),
            NewTask::Traced { stops_at_calls } => {
                task.tracing = Some(Tracing { stops_at_calls, tracer_step: step });
                self.run_process(step, body, task, *process, &mut bytes.clone());
            }
        }
        Ok(())
    }

    /// Predicts the events of a call. If the call is dispatched, the handler runs, and the call is
    /// issued again if the step says so.
    fn run_call(
        &mut self,
        step: &Step,
        task: &mut Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let Operation::Call { site, call, handler, reissues } = &step.operation else {
            return Ok(());
        };
        let compared_address = self.layout.compared_address(*site);
        let before = registers(*site, *call, self.layout);
        let result = before[Reg::RESULT];
        // The kernel reads only the low half of the number register and stores it in `si_syscall`.
        #[allow(clippy::cast_possible_truncation)]
        let number = before[Reg::NUMBER] as i32;
        let arch = if *site == CallSite::CompatGate { AUDIT_ARCH_COMPAT } else { AUDIT_ARCH };
        for round in 0..2 {
            if !self.is_dispatched(task, compared_address, bytes)? {
                if let Some(Tracing { stops_at_calls: true, tracer_step }) = task.tracing
                    && *site != CallSite::Inside
                {
                    let number = i64::from(number).cast_unsigned();
                    let entry =
                        EventKind::CallEntry { number, instruction_pointer: compared_address };
                    self.record(tracer_step, entry);
                }
                let result = self.execute(*call, task, process);
                self.record(step.number, EventKind::Returned { result, preserved: true });
                return Ok(());
            }
            if let Some(Tracing { tracer_step, .. }) = task.tracing {
                self.record(tracer_step, EventKind::Stopped(libc::SIGSYS));
            }
            // force_sig_info_to_task(): a blocked or ignored signal kills.
            let runs_unblocked = process.disposition == Disposition::NoDefer;
            match process.disposition {
                _ if task.sigsys_blocked => return Err(Killed(libc::SIGSYS)),
                Disposition::Default | Disposition::Ignored => return Err(Killed(libc::SIGSYS)),
                Disposition::ResetHand => process.disposition = Disposition::Default,
                Disposition::Handler | Disposition::NoDefer => {}
            }
            self.record(
                step.number,
                EventKind::Dispatched {
                    number,
                    code: 2,
                    errno: 0,
                    arch,
                    call_address: compared_address,
                    result,
                },
            );
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
        self.record(step.number, EventKind::Returned { result, preserved: true });
        Ok(())
    }

    /// Whether a call with this compared address is dispatched.
    fn is_dispatched(
        &self,
        task: &Task,
        compared_address: u64,
        bytes: &SelectorBytes,
    ) -> Result<bool, Killed> {
        let read = |selector| {
            let byte = self.layout.selectors.iter().position(|address| *address == selector);
            byte.map(|byte| bytes[byte])
        };
        match task.config.decide(compared_address, read) {
            Decision::Pass => Ok(false),
            Decision::Dispatch => Ok(true),
            Decision::Kill(signal) => Err(Killed(signal)),
        }
    }

    /// Simulates the execution of a call. Returns the call's result.
    fn execute(&self, call: Call, task: &mut Task, process: &mut Process) -> u64 {
        let failed = |errno: i32| i64::from(-errno).cast_unsigned();
        match call {
            Call::Umask(value) | Call::UmaskWithHighBit(value) => {
                std::mem::replace(&mut process.umask, value.into())
            }
            Call::UnusedNumber | Call::MinusOne => failed(libc::ENOSYS),
            Call::Prctl(arguments) => {
                failed(self.configure(task, self.layout.arguments(arguments)))
            }
        }
    }

    /// Sets a configuration of a task. Returns 0 or an error number.
    fn configure(&self, task: &mut Task, arguments: [u64; 4]) -> i32 {
        let rules = Rules {
            has_inclusive_mode: self.platform.has_inclusive_mode,
            is_arming_permitted: true,
        };
        let is_forbidden = |selector| selector == self.layout.selector(Selector::Kernel);
        match Config::set(arguments, rules, is_forbidden) {
            Ok(config) => {
                task.config = config;
                0
            }
            Err(error) => error,
        }
    }
}

/// The value of the number register of a call, and its arguments.
#[must_use]
pub fn number_and_arguments(site: CallSite, call: Call, layout: &Layout) -> (u64, [u64; 6]) {
    let compat = site == CallSite::CompatGate;
    let umask = if compat { COMPAT_UMASK } else { libc::SYS_umask.cast_unsigned() };
    match call {
        Call::Umask(mask) => (umask, [mask.into(), 0, 0, 0, 0, 0]),
        Call::UmaskWithHighBit(mask) => (umask | 1 << 40, [mask.into(), 0, 0, 0, 0, 0]),
        Call::UnusedNumber => (UNUSED_NUMBER, [0; 6]),
        Call::MinusOne => (u64::MAX, [0; 6]),
        Call::Prctl(arguments) => {
            let [mode, offset, length, selector] = layout.arguments(arguments);
            let option = i64::from(PR_SET_SYSCALL_USER_DISPATCH).cast_unsigned();
            let arguments = [option, mode, offset, length, selector, 0];
            (libc::SYS_prctl.cast_unsigned(), arguments)
        }
    }
}

/// The registers of a call.
#[must_use]
pub fn registers(site: CallSite, call: Call, layout: &Layout) -> Registers {
    let (number, arguments) = number_and_arguments(site, call, layout);
    match site {
        CallSite::CompatGate => compat_call(number, arguments),
        _ => Registers::for_call(number, arguments),
    }
}

impl EventKind {
    /// A description for reports.
    #[must_use]
    pub fn describe(&self, layout: &Layout) -> String {
        match self {
            EventKind::Dispatched { number, code, errno, arch, call_address, result } => format!(
                "dispatched: number {number}, code {code}, errno {errno}, arch {arch:#x}, from {}, \
                 result register {result:#x}",
                layout.address_name(*call_address)
            ),
            EventKind::Returned { result, preserved } => {
                let result = result.cast_signed();
                let preserved = if *preserved { "" } else { ", other registers changed" };
                format!("the call gives {result}{preserved}")
            }
            EventKind::Stopped(signal) => {
                format!("the tracer sees {}", crate::sys::signal_name(*signal))
            }
            EventKind::CallEntry { number, instruction_pointer } => {
                let site = layout.address_name(*instruction_pointer);
                format!("the tracer sees the entry of {number} from {site}")
            }
            EventKind::SetByTracer(0) => "the tracer's setting is accepted".to_owned(),
            EventKind::SetByTracer(errno) => {
                format!("the tracer's setting gives {}", crate::sys::Errno(*errno))
            }
            EventKind::ConfigRead(config) => format!("the tracer reads {config}"),
            EventKind::FinalUmask(mask) => format!("the process ends with umask {mask:#o}"),
            EventKind::Exited(code) => format!("the process exits with {code}"),
            EventKind::Killed(signal) => {
                format!("the process is killed by {}", crate::sys::signal_name(*signal))
            }
            EventKind::SetupFailed(errno) => {
                format!("the walk fails: {}", crate::sys::Errno(*errno))
            }
        }
    }
}
