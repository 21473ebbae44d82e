// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The oracle: a model of `kernel/entry/syscall_user_dispatch.c` that predicts the events of a walk.

use super::Offers;
use super::operations::{Birth, Call, Handling, Layout, Operation, Place, Selector, Step};
use crate::arch::{
    AUDIT_ARCH, AUDIT_ARCH_COMPAT, COMPAT_UMASK, Reg, Registers, UNUSED_NUMBER, compat_call,
};
use crate::oracle::{Config, Decision, Rules};
use crate::sys::PR_SET_SYSCALL_USER_DISPATCH;

/// An observable event of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The step's number; 0 for the end of the sequence.
    pub step: u16,
    /// The event.
    pub what: What,
}

/// The kind of an event, with its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
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
        /// Whether all other registers are unchanged.
        kept: bool,
    },
    /// The tracee stopped for this signal.
    Stopped(i32),
    /// The tracee stopped at the entry of a call from outside.
    Entered {
        /// The number.
        number: u64,
        /// The address after the system call instruction.
        at: u64,
    },
    /// The tracer set the configuration, with this result: 0 or an error number.
    Set(i32),
    /// The tracer read this configuration.
    Told(Config),
    /// A process reported this umask(2) at its end.
    Mask(u64),
    /// A process exited with this code.
    Exited(i32),
    /// A process was killed by this signal.
    Killed(i32),
    /// An operation that is not under test failed with this error number. Never predicted.
    Trouble(i32),
}

/// The last release in which the bugs were seen that [`Event::allows`] tolerates.
const BUGS_SEEN_IN: (u32, u32) = (7, 3);

impl Event {
    /// Whether an observed event matches this predicted one.
    ///
    /// Two known kernel bugs are tolerated on the releases up to the last one in which they were seen.
    /// After a fork the fields of a disabled configuration stay, so only its mode is compared
    /// (`stale-config-after-clear`). An inclusive configuration may read as the exclusive one of the
    /// complement (`inclusive-get-set`).
    #[must_use]
    pub fn allows(&self, seen: &Event, release: (u32, u32)) -> bool {
        let (What::Told(due), What::Told(told)) = (self.what, seen.what) else {
            return self == seen;
        };
        let inverted = Config {
            mode: 1,
            offset: due.offset.wrapping_add(due.length),
            length: due.length.wrapping_neg(),
            ..due
        };
        let tolerated = release <= BUGS_SEEN_IN;
        self.step == seen.step
            && match due.mode {
                0 if tolerated => told.mode == 0,
                2 if tolerated => told == due || told == inverted,
                _ => told == due,
            }
    }
}

/// The process is killed.
struct Death(i32);

type Life = Result<(), Death>;

/// The state of a thread.
#[derive(Clone, Copy)]
struct Task {
    /// The configuration; mode 0 is off.
    config: Config,
    /// Whether SIGSYS is blocked.
    blocked: bool,
    /// If it is traced: whether it stops at calls, and the step that started it.
    traced: Option<(bool, u16)>,
}

/// The state that the threads of a process share.
#[derive(Clone, Copy)]
struct Process {
    handling: Handling,
    mask: u64,
}

/// The state that tasks with the same memory share.
type Bytes = [u8; 2];

/// The umask(2) at the beginning of a sequence.
pub const FIRST_MASK: u64 = 0o22;

/// Predicts all events of a sequence, in order.
#[must_use]
pub fn predict(steps: &[Step], layout: &Layout, offers: Offers) -> Vec<Event> {
    let mut model = Model { layout, offers, events: Vec::new() };
    let mut bytes = [0; 2];
    let task = Task { config: Config::default(), blocked: false, traced: None };
    let process = Process { handling: Handling::Handler, mask: FIRST_MASK };
    model.live(0, steps, task, process, &mut bytes);
    model.events
}

struct Model<'a> {
    layout: &'a Layout,
    offers: Offers,
    events: Vec<Event>,
}

impl Model<'_> {
    fn see(&mut self, step: u16, what: What) {
        self.events.push(Event { step, what });
    }

    /// Predicts the events of a process from its start to its end.
    fn live(
        &mut self,
        step: u16,
        steps: &[Step],
        mut task: Task,
        mut process: Process,
        bytes: &mut Bytes,
    ) {
        match self.steps(steps, &mut task, &mut process, bytes) {
            Ok(()) => {
                self.see(step, What::Mask(process.mask));
                self.see(step, What::Exited(0));
            }
            Err(Death(signal)) => self.see(step, What::Killed(signal)),
        }
    }

    fn steps(
        &mut self,
        steps: &[Step],
        task: &mut Task,
        process: &mut Process,
        bytes: &mut Bytes,
    ) -> Life {
        for step in steps {
            match &step.operation {
                Operation::Call { .. } => self.call(step, task, process, bytes)?,
                Operation::Flip { byte, value } => bytes[*byte] = *value,
                Operation::Handle(handling) => process.handling = *handling,
                Operation::Block(blocked) => task.blocked = *blocked,
                Operation::Signal(body) => {
                    if let Some((_, by)) = task.traced {
                        self.see(by, What::Stopped(libc::SIGUSR1));
                    }
                    let blocked = task.blocked;
                    self.steps(body, task, process, bytes)?;
                    task.blocked = blocked;
                }
                Operation::Birth(birth, body) => {
                    self.birth(step.number, *birth, body, *task, process, bytes)?;
                }
                Operation::Set(arguments) => {
                    if let Some((_, by)) = task.traced {
                        let error = self.configure(task, self.layout.arguments(*arguments));
                        self.see(by, What::Set(error));
                        self.see(by, What::Told(task.config));
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a task: it is not armed (`copy_process()`).
    fn birth(
        &mut self,
        step: u16,
        birth: Birth,
        body: &[Step],
        parent: Task,
        process: &mut Process,
        bytes: &mut Bytes,
    ) -> Life {
        let mut task = Task { config: Config::default(), traced: None, ..parent };
        match birth {
            Birth::Thread => return self.steps(body, &mut task, process, bytes),
            Birth::Shared => self.live(step, body, task, *process, bytes),
            Birth::Copied => self.live(step, body, task, *process, &mut bytes.clone()),
            Birth::Traced { calls } => {
                task.traced = Some((calls, step));
                self.live(step, body, task, *process, &mut bytes.clone());
            }
        }
        Ok(())
    }

    /// Issues a call, runs its handler, and issues the call again if that says so.
    fn call(
        &mut self,
        step: &Step,
        task: &mut Task,
        process: &mut Process,
        bytes: &mut Bytes,
    ) -> Life {
        let Operation::Call { place, call, handler, again } = &step.operation else {
            return Ok(());
        };
        let at = self.layout.after(*place);
        let before = registers(*place, *call, self.layout);
        let result = before[Reg::RESULT];
        // The kernel reads only the low half of the number register, and `si_syscall` holds that.
        #[allow(clippy::cast_possible_truncation)]
        let number = before[Reg::NUMBER] as i32;
        let arch = if *place == Place::Compat { AUDIT_ARCH_COMPAT } else { AUDIT_ARCH };
        for round in 0..2 {
            if !self.is_dispatched(task, at, bytes)? {
                if let (Some((true, by)), true) = (task.traced, *place != Place::Inside) {
                    let number = i64::from(number).cast_unsigned();
                    self.see(by, What::Entered { number, at });
                }
                let result = self.execute(*call, task, process);
                self.see(step.number, What::Returned { result, kept: true });
                return Ok(());
            }
            if let Some((_, by)) = task.traced {
                self.see(by, What::Stopped(libc::SIGSYS));
            }
            // force_sig_info_to_task(): a blocked or ignored signal kills.
            let nesting = process.handling == Handling::Nesting;
            match process.handling {
                _ if task.blocked => return Err(Death(libc::SIGSYS)),
                Handling::Default | Handling::Ignored => return Err(Death(libc::SIGSYS)),
                Handling::Once => process.handling = Handling::Default,
                Handling::Handler | Handling::Nesting => {}
            }
            self.see(step.number, What::Dispatched { number, code: 2, errno: 0, arch, at, result });
            if round == 1 {
                break;
            }
            task.blocked = !nesting;
            self.steps(handler, task, process, bytes)?;
            task.blocked = false;
            if !again {
                break;
            }
        }
        self.see(step.number, What::Returned { result, kept: true });
        Ok(())
    }

    /// Whether a call from there is dispatched.
    fn is_dispatched(&self, task: &Task, at: u64, bytes: &Bytes) -> Result<bool, Death> {
        let read = |selector| {
            let byte = self.layout.selectors.iter().position(|address| *address == selector);
            byte.map(|byte| bytes[byte])
        };
        match task.config.decide(at, read) {
            Decision::Pass => Ok(false),
            Decision::Dispatch => Ok(true),
            Decision::Kill(signal) => Err(Death(signal)),
        }
    }

    /// Executes a call: gives its result.
    fn execute(&self, call: Call, task: &mut Task, process: &mut Process) -> u64 {
        let failed = |errno: i32| i64::from(-errno).cast_unsigned();
        match call {
            Call::Umask(value) | Call::FarUmask(value) => {
                std::mem::replace(&mut process.mask, value.into())
            }
            Call::Unused | Call::MinusOne => failed(libc::ENOSYS),
            Call::Prctl(arguments) => {
                failed(self.configure(task, self.layout.arguments(arguments)))
            }
        }
    }

    /// Sets a configuration. Gives 0 or an error number.
    fn configure(&self, task: &mut Task, arguments: [u64; 4]) -> i32 {
        let rules = Rules { inclusive: self.offers.inclusive, permitted: true };
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
pub fn number_and_arguments(place: Place, call: Call, layout: &Layout) -> (u64, [u64; 6]) {
    let compat = place == Place::Compat;
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
pub fn registers(place: Place, call: Call, layout: &Layout) -> Registers {
    let (number, arguments) = number_and_arguments(place, call, layout);
    match place {
        Place::Compat => compat_call(number, arguments),
        _ => Registers::call(number, arguments),
    }
}

impl What {
    /// A description for reports.
    #[must_use]
    pub fn describe(&self, layout: &Layout) -> String {
        match self {
            What::Dispatched { number, code, errno, arch, at, result } => format!(
                "dispatched: number {number}, code {code}, errno {errno}, arch {arch:#x}, from {}, \
                 result register {result:#x}",
                layout.name(*at)
            ),
            What::Returned { result, kept } => {
                let result = result.cast_signed();
                let kept = if *kept { "" } else { ", other registers changed" };
                format!("the call gives {result}{kept}")
            }
            What::Stopped(signal) => {
                format!("the tracer sees {}", crate::sys::signal_name(*signal))
            }
            What::Entered { number, at } => {
                format!("the tracer sees the entry of {number} from {}", layout.name(*at))
            }
            What::Set(0) => "the tracer's setting is accepted".to_owned(),
            What::Set(errno) => format!("the tracer's setting gives {}", crate::sys::Errno(*errno)),
            What::Told(told) => format!("the tracer reads {told}"),
            What::Mask(mask) => format!("the process ends with umask {mask:#o}"),
            What::Exited(code) => format!("the process exits with {code}"),
            What::Killed(signal) => {
                format!("the process is killed by {}", crate::sys::signal_name(*signal))
            }
            What::Trouble(errno) => format!("the walk fails: {}", crate::sys::Errno(*errno)),
        }
    }
}
