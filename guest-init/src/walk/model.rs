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
        at: u64,
        /// The result register in the frame.
        result: u64,
    },
    /// A call returned.
    Returned {
        /// The result register.
        result: u64,
        /// Whether all other registers have their values from the call.
        preserved: bool,
    },
    /// The tracee stopped for this signal.
    Stopped(i32),
    /// The tracee stopped at the entry of a call outside the allowed range.
    CallEntry {
        /// The number.
        number: u64,
        /// The address after the system call instruction.
        at: u64,
    },
    /// The tracer set the configuration, with this result: 0 or an error number.
    Set(i32),
    /// The tracer read this configuration.
    ConfigRead(Config),
    /// A process had this umask(2) at its end.
    FinalUmask(u64),
    /// A process exited with this code.
    Exited(i32),
    /// A process was killed by this signal.
    Killed(i32),
    /// An operation that is not under test failed with this error number. Never predicted.
    SetupFailed(i32),
}

/// The last release with the bugs that [`Event::allows`] tolerates.
const LAST_RELEASE_WITH_BUGS: (u32, u32) = (7, 3);

impl Event {
    /// Whether an observed event matches this predicted one.
    ///
    /// Two known kernel bugs are tolerated on releases up to [`LAST_RELEASE_WITH_BUGS`]. After a fork the fields of
    /// the disabled configuration stay, so only its mode is compared (`stale-config-after-clear`). An
    /// inclusive configuration may read as the exclusive configuration of the complement
    /// (`inclusive-get-set`).
    #[must_use]
    pub fn allows(&self, seen: &Event, release: (u32, u32)) -> bool {
        let (EventKind::ConfigRead(expected), EventKind::ConfigRead(read)) = (self.kind, seen.kind)
        else {
            return self == seen;
        };
        let inverted = Config {
            mode: 1,
            offset: expected.offset.wrapping_add(expected.length),
            length: expected.length.wrapping_neg(),
            ..expected
        };
        let tolerated = release <= LAST_RELEASE_WITH_BUGS;
        self.step == seen.step
            && match expected.mode {
                0 if tolerated => read.mode == 0,
                2 if tolerated => read == expected || read == inverted,
                _ => read == expected,
            }
    }
}

/// The end of a process that this signal kills.
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
    /// For a tracee: whether it stops at calls, and the step that started it.
    traced: Option<(bool, u16)>,
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
pub const FIRST_UMASK: u64 = 0o22;

/// Predicts all events of a sequence, in order.
#[must_use]
pub fn predict(steps: &[Step], layout: &Layout, platform: Platform) -> Vec<Event> {
    let mut model = Model { layout, platform, events: Vec::new() };
    let mut bytes = [0; 2];
    let task = Task { config: Config::default(), sigsys_blocked: false, traced: None };
    let process = Process { disposition: Disposition::Handler, umask: FIRST_UMASK };
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
        match self.steps(steps, &mut task, &mut process, bytes) {
            Ok(()) => {
                self.record(step, EventKind::FinalUmask(process.umask));
                self.record(step, EventKind::Exited(0));
            }
            Err(Killed(signal)) => self.record(step, EventKind::Killed(signal)),
        }
    }

    fn steps(
        &mut self,
        steps: &[Step],
        task: &mut Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        for step in steps {
            match &step.operation {
                Operation::Call { .. } => self.call(step, task, process, bytes)?,
                Operation::Flip { byte, value } => bytes[*byte] = *value,
                Operation::Handle(disposition) => process.disposition = *disposition,
                Operation::Block(blocked) => task.sigsys_blocked = *blocked,
                Operation::Signal(body) => {
                    if let Some((_, tracer)) = task.traced {
                        self.record(tracer, EventKind::Stopped(libc::SIGUSR1));
                    }
                    let blocked = task.sigsys_blocked;
                    self.steps(body, task, process, bytes)?;
                    task.sigsys_blocked = blocked;
                }
                Operation::StartTask(new_task, body) => {
                    self.new_task(step.number, *new_task, body, *task, process, bytes)?;
                }
                Operation::Set(arguments) => {
                    if let Some((_, tracer)) = task.traced {
                        let error = self.configure(task, self.layout.arguments(*arguments));
                        self.record(tracer, EventKind::Set(error));
                        self.record(tracer, EventKind::ConfigRead(task.config));
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a task, which is not armed (`copy_process()`).
    fn new_task(
        &mut self,
        step: u16,
        new_task: NewTask,
        body: &[Step],
        parent: Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let mut task = Task { config: Config::default(), traced: None, ..parent };
        match new_task {
            NewTask::Thread => return self.steps(body, &mut task, process, bytes),
            NewTask::Vfork => self.run_process(step, body, task, *process, bytes),
            NewTask::Fork => self.run_process(step, body, task, *process, &mut bytes.clone()),
            NewTask::Traced { calls } => {
                task.traced = Some((calls, step));
                self.run_process(step, body, task, *process, &mut bytes.clone());
            }
        }
        Ok(())
    }

    /// Issues a call. If it is dispatched, runs the handler and issues the call again if the step says so.
    fn call(
        &mut self,
        step: &Step,
        task: &mut Task,
        process: &mut Process,
        bytes: &mut SelectorBytes,
    ) -> StepsResult {
        let Operation::Call { site, call, handler, again } = &step.operation else {
            return Ok(());
        };
        let at = self.layout.after(*site);
        let before = registers(*site, *call, self.layout);
        let result = before[Reg::RESULT];
        // The kernel reads only the low half of the number register and stores it in `si_syscall`.
        #[allow(clippy::cast_possible_truncation)]
        let number = before[Reg::NUMBER] as i32;
        let arch = if *site == CallSite::Compat { AUDIT_ARCH_COMPAT } else { AUDIT_ARCH };
        for round in 0..2 {
            if !self.is_dispatched(task, at, bytes)? {
                if let (Some((true, tracer)), true) = (task.traced, *site != CallSite::Inside) {
                    let number = i64::from(number).cast_unsigned();
                    self.record(tracer, EventKind::CallEntry { number, at });
                }
                let result = self.execute(*call, task, process);
                self.record(step.number, EventKind::Returned { result, preserved: true });
                return Ok(());
            }
            if let Some((_, tracer)) = task.traced {
                self.record(tracer, EventKind::Stopped(libc::SIGSYS));
            }
            // force_sig_info_to_task(): a blocked or ignored signal kills.
            let nesting = process.disposition == Disposition::NoDefer;
            match process.disposition {
                _ if task.sigsys_blocked => return Err(Killed(libc::SIGSYS)),
                Disposition::Default | Disposition::Ignored => return Err(Killed(libc::SIGSYS)),
                Disposition::ResetHand => process.disposition = Disposition::Default,
                Disposition::Handler | Disposition::NoDefer => {}
            }
            self.record(
                step.number,
                EventKind::Dispatched { number, code: 2, errno: 0, arch, at, result },
            );
            if round == 1 {
                break;
            }
            task.sigsys_blocked = !nesting;
            self.steps(handler, task, process, bytes)?;
            task.sigsys_blocked = false;
            if !again {
                break;
            }
        }
        self.record(step.number, EventKind::Returned { result, preserved: true });
        Ok(())
    }

    /// Whether a call whose instruction ends at `at` is dispatched.
    fn is_dispatched(&self, task: &Task, at: u64, bytes: &SelectorBytes) -> Result<bool, Killed> {
        let read = |selector| {
            let byte = self.layout.selectors.iter().position(|address| *address == selector);
            byte.map(|byte| bytes[byte])
        };
        match task.config.decide(at, read) {
            Decision::Pass => Ok(false),
            Decision::Dispatch => Ok(true),
            Decision::Kill(signal) => Err(Killed(signal)),
        }
    }

    /// Executes a call and returns its result.
    fn execute(&self, call: Call, task: &mut Task, process: &mut Process) -> u64 {
        let failed = |errno: i32| i64::from(-errno).cast_unsigned();
        match call {
            Call::Umask(value) | Call::FarUmask(value) => {
                std::mem::replace(&mut process.umask, value.into())
            }
            Call::Unused | Call::MinusOne => failed(libc::ENOSYS),
            Call::Prctl(arguments) => {
                failed(self.configure(task, self.layout.arguments(arguments)))
            }
        }
    }

    /// Sets a configuration. Returns 0 or an error number.
    fn configure(&self, task: &mut Task, arguments: [u64; 4]) -> i32 {
        let rules = Rules { inclusive: self.platform.inclusive, permitted: true };
        let forbidden = |selector| selector == self.layout.selector(Selector::Kernel);
        match Config::set(arguments, rules, forbidden) {
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
    let compat = site == CallSite::Compat;
    let umask = if compat { COMPAT_UMASK } else { libc::SYS_umask.cast_unsigned() };
    match call {
        Call::Umask(mask) => (umask, [mask.into(), 0, 0, 0, 0, 0]),
        Call::FarUmask(mask) => (umask | 1 << 40, [mask.into(), 0, 0, 0, 0, 0]),
        Call::Unused => (UNUSED_NUMBER, [0; 6]),
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
        CallSite::Compat => compat_call(number, arguments),
        _ => Registers::for_call(number, arguments),
    }
}

impl EventKind {
    /// A description for reports.
    #[must_use]
    pub fn describe(&self, layout: &Layout) -> String {
        match self {
            EventKind::Dispatched { number, code, errno, arch, at, result } => format!(
                "dispatched: number {number}, code {code}, errno {errno}, arch {arch:#x}, from {}, \
                 result register {result:#x}",
                layout.name(*at)
            ),
            EventKind::Returned { result, preserved } => {
                let result = result.cast_signed();
                let preserved = if *preserved { "" } else { ", other registers changed" };
                format!("the call gives {result}{preserved}")
            }
            EventKind::Stopped(signal) => {
                format!("the tracer sees {}", crate::sys::signal_name(*signal))
            }
            EventKind::CallEntry { number, at } => {
                format!("the tracer sees the entry of {number} from {}", layout.name(*at))
            }
            EventKind::Set(0) => "the tracer's setting is accepted".to_owned(),
            EventKind::Set(errno) => {
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
