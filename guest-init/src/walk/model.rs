// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The oracle: Syscall User Dispatch as `kernel/entry/syscall_user_dispatch.c` promises it, in a
//! few lines, and what of it a walk must see.

use super::Offers;
use super::operations::{Birth, Call, Handling, Layout, Operation, Place, Selector, Step};
use crate::arch::{
    AUDIT_ARCH, AUDIT_ARCH_COMPAT, COMPAT_UMASK, Reg, Registers, UNUSED_NUMBER, compat_call,
};
use crate::sys::PR_SET_SYSCALL_USER_DISPATCH;
use std::fmt;

/// What is seen of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The step's number; 0 is the whole sequence.
    pub step: u16,
    /// What is seen.
    pub what: What,
}

/// One thing that is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A handler of SIGSYS began.
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
    /// A call came back.
    Returned {
        /// The result register.
        result: u64,
        /// Whether all others are as they were.
        kept: bool,
    },
    /// The tracer saw a stop for this signal.
    Stopped(i32),
    /// The tracer saw the entry of a call from outside.
    Entered {
        /// Its number.
        number: u64,
        /// The address behind the instruction.
        at: u64,
    },
    /// What setting the configuration gave to the tracer: 0 or an error number.
    Set(i32),
    /// The configuration as the tracer read it.
    Told(Told),
    /// The mask of file creation when a process ends.
    Mask(u64),
    /// A process ended with this code.
    Exited(i32),
    /// A process was killed by this signal.
    Killed(i32),
    /// Something that only carries the walk failed with this error number: never predicted.
    Trouble(i32),
}

/// `struct ptrace_sud_config` (include/uapi/linux/ptrace.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Told {
    /// `PR_SYS_DISPATCH_*`
    pub mode: u64,
    /// The selector's address.
    pub selector: u64,
    /// Start of the range.
    pub offset: u64,
    /// Its length.
    pub length: u64,
}

impl Event {
    /// Whether what was seen is what was predicted.
    ///
    /// Of a configuration that is off, the mode alone counts: on fork the fields stay (a recorded
    /// bug, `stale-config-after-clear`). An inclusive one may be told as the exclusive one of the
    /// rest (a recorded bug, `inclusive-get-set`).
    #[must_use]
    pub fn allows(&self, seen: &Event) -> bool {
        let (What::Told(due), What::Told(told)) = (self.what, seen.what) else {
            return self == seen;
        };
        let inverted = Told {
            mode: 1,
            offset: due.offset.wrapping_add(due.length),
            length: due.length.wrapping_neg(),
            ..due
        };
        self.step == seen.step
            && match due.mode {
                0 => told.mode == 0,
                2 => told == due || told == inverted,
                _ => told == due,
            }
    }
}

/// Something kills the process.
struct Death(i32);

type Life = Result<(), Death>;

/// What a thread has for itself.
#[derive(Clone, Copy)]
struct Task {
    /// As it was set; mode 0 is off.
    config: Told,
    /// Whether SIGSYS is blocked.
    blocked: bool,
    /// Whether its tracer sees its calls, if it is traced, and the step that says so.
    traced: Option<(bool, u16)>,
}

/// What the threads of a process share.
#[derive(Clone, Copy)]
struct Process {
    handling: Handling,
    mask: u64,
}

/// What shares memory shares these.
type Bytes = [u8; 2];

const EINVAL: i32 = libc::EINVAL;
const EFAULT: i32 = libc::EFAULT;

/// The mask of file creation with which a sequence begins.
pub const FIRST_MASK: u64 = 0o22;

/// All that must be seen of a sequence, in order.
#[must_use]
pub fn predict(steps: &[Step], layout: &Layout, offers: Offers) -> Vec<Event> {
    let mut model = Model { layout, offers, events: Vec::new() };
    let mut bytes = [0; 2];
    let task = Task { config: Told::default(), blocked: false, traced: None };
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

    /// The whole life of a process.
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

    /// `arch_dup_task_struct()` and `copy_process()`: whoever is born is not armed.
    fn birth(
        &mut self,
        step: u16,
        birth: Birth,
        body: &[Step],
        parent: Task,
        process: &mut Process,
        bytes: &mut Bytes,
    ) -> Life {
        let mut task = Task { config: Told::default(), traced: None, ..parent };
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

    /// A call, its handler, and the call once more.
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
        // Only the low half of the register is the number, for the kernel as in siginfo.
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
            // force_sig_info_to_task(): what cannot be handled kills.
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

    /// `syscall_user_dispatch()`
    fn is_dispatched(&self, task: &Task, at: u64, bytes: &Bytes) -> Result<bool, Death> {
        let config = &task.config;
        let within = at.wrapping_sub(config.offset) < config.length;
        let asked = match config.mode {
            0 => false,
            1 => !within,
            _ => within,
        };
        if !asked || config.selector == 0 {
            return Ok(asked);
        }
        let byte = self.layout.selectors.iter().position(|address| *address == config.selector);
        match byte.map(|byte| bytes[byte]) {
            None => Err(Death(libc::SIGSEGV)),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(Death(libc::SIGSYS)),
        }
    }

    /// What a call does and gives.
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

    /// `task_set_syscall_user_dispatch()`: 0 or an error number.
    fn configure(&self, task: &mut Task, arguments: [u64; 4]) -> i32 {
        let [mode, offset, length, selector] = arguments;
        let end = offset.wrapping_add(length);
        let good = match mode {
            0 => offset == 0 && length == 0 && selector == 0,
            1 => offset == 0 || end > offset,
            2 => self.offers.inclusive && length != 0 && end > offset,
            _ => false,
        };
        if !good {
            return EINVAL;
        }
        if selector == self.layout.selector(Selector::Kernel) {
            return EFAULT;
        }
        task.config = Told { mode, selector, offset, length };
        0
    }
}

/// The number of a call as the register holds it, and its arguments.
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

/// The registers that a call is issued with.
#[must_use]
pub fn registers(place: Place, call: Call, layout: &Layout) -> Registers {
    let (number, arguments) = number_and_arguments(place, call, layout);
    match place {
        Place::Compat => compat_call(number, arguments),
        _ => Registers::call(number, arguments),
    }
}

impl What {
    /// In words.
    #[must_use]
    pub fn tell(&self, layout: &Layout) -> String {
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

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { mode, selector, offset, length } = self;
        write!(f, "mode {mode}, offset {offset:#x}, length {length:#x}, selector {selector:#x}")
    }
}
