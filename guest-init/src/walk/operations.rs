// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The operations of a random walk and their arguments.

use std::fmt;
use std::ops::Range;

use crate::arch::CALL_LENGTH;

/// The code from which a call is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSite {
    /// Code in the range that every exclusive configuration of a walk allows.
    Inside,
    /// The gate [`arch::gate`](crate::arch::gate).
    FirstGate,
    /// The gate [`arch::second_gate`](crate::arch::second_gate).
    SecondGate,
    /// The gate that uses `int 0x80`, [`arch::compat_gate`](crate::arch::compat_gate).
    CompatGate,
}

impl CallSite {
    /// All call sites, in the order of [`Layout::compared_addresses`].
    pub const ALL: [CallSite; 4] =
        [CallSite::Inside, CallSite::FirstGate, CallSite::SecondGate, CallSite::CompatGate];
}

/// A range for prctl(2), named after the compared addresses that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedRange {
    /// Offset and length 0.
    Nothing,
    /// The code of [`CallSite::Inside`] only.
    Inside,
    /// From inside up to the first gate's compared address, which is excluded.
    BeforeFirst,
    /// From inside up to the first gate's compared address, which is included.
    ThroughFirst,
    /// From inside up to the second gate's compared address, which is excluded.
    BeforeSecond,
    /// From inside up to the second gate's compared address, which is included.
    ThroughSecond,
    /// From 0 to the address before the last one (2^64 - 2).
    Everything,
    /// The first gate's compared address only.
    First,
    /// The first gate's system call instruction, which does not contain the compared address.
    Instruction,
    /// The second gate's compared address only.
    Second,
    /// Both gates.
    Both,
    /// An empty range at the first gate.
    Empty,
    /// From inside to beyond the last address.
    Wrapping,
}

impl NamedRange {
    /// The ranges for exclusive mode. With each of them calls from inside are not dispatched, or the
    /// kernel refuses the range.
    pub const FOR_EXCLUSIVE: [NamedRange; 8] = [
        NamedRange::Inside,
        NamedRange::BeforeFirst,
        NamedRange::ThroughFirst,
        NamedRange::BeforeSecond,
        NamedRange::ThroughSecond,
        NamedRange::Everything,
        NamedRange::Empty,
        NamedRange::Wrapping,
    ];
    /// The ranges for inclusive mode. With each of them calls from inside are not dispatched, or the
    /// kernel refuses the range.
    pub const FOR_INCLUSIVE: [NamedRange; 7] = [
        NamedRange::First,
        NamedRange::Instruction,
        NamedRange::Second,
        NamedRange::Both,
        NamedRange::Nothing,
        NamedRange::Empty,
        NamedRange::Wrapping,
    ];
}

/// A selector for prctl(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The selector byte with this index, 0 or 1.
    Byte(usize),
    /// No selector.
    Null,
    /// An unmapped address.
    Unmapped,
    /// A kernel address.
    Kernel,
}

/// The arguments of `PR_SET_SYSCALL_USER_DISPATCH` and of `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `PR_SYS_DISPATCH_*`, or an unknown mode.
    pub mode: u64,
    /// The range.
    pub range: NamedRange,
    /// The selector.
    pub selector: Selector,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `umask(2)`, whose effect the result of the next `umask(2)` shows.
    Umask(u16),
    /// `umask(2)` with bit 40 of the number register set. The kernel does not read this bit.
    UmaskWithHighBit(u16),
    /// A number that no kernel implements.
    UnusedNumber,
    /// The number -1.
    MinusOne,
    /// `prctl(PR_SET_SYSCALL_USER_DISPATCH)`.
    Prctl(Arguments),
}

/// The disposition of SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// A handler that runs with SIGSYS blocked.
    Handler,
    /// A handler that runs with SIGSYS unblocked (`SA_NODEFER`).
    NoDefer,
    /// A handler that runs once, after which SIGSYS has its default action (`SA_RESETHAND`).
    ResetHand,
    /// The default action.
    Default,
    /// SIGSYS is ignored.
    Ignored,
}

/// The kind of a new task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTask {
    /// A process with its own memory, as by `fork(2)`.
    Fork,
    /// A process in its parent's memory, as by `vfork(2)`.
    Vfork,
    /// A thread.
    Thread,
    /// A process with its own memory that its parent traces.
    Traced {
        /// Whether the tracee stops at system calls.
        stops_at_calls: bool,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Issues a call.
    Call {
        /// The code that issues the call.
        site: CallSite,
        /// The call.
        call: Call,
        /// The steps of the handler, if the call is dispatched.
        handler: Vec<Step>,
        /// Whether the handler makes the program issue the call again.
        reissues: bool,
    },
    /// Stores a selector byte.
    Flip {
        /// The index of the byte.
        byte: usize,
        /// The value.
        value: u8,
    },
    /// Sets the disposition of SIGSYS.
    SetDisposition(Disposition),
    /// Blocks SIGSYS if true, else unblocks SIGSYS.
    SetSigsysBlocked(bool),
    /// Raises SIGUSR1, whose handler executes these steps.
    RaiseSigusr1(Vec<Step>),
    /// Starts a task that executes these steps, and waits for its end.
    StartTask(NewTask, Vec<Step>),
    /// Stops a traced task, so that its tracer sets and reads the configuration.
    SetByTracer(Arguments),
}

/// An operation with its number in the sequence, from 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The number.
    pub number: u16,
    /// The operation.
    pub operation: Operation,
}

impl Step {
    /// The steps within this one.
    #[must_use]
    pub fn body(&self) -> &[Step] {
        match &self.operation {
            Operation::Call { handler, .. } => handler,
            Operation::RaiseSigusr1(body) | Operation::StartTask(_, body) => body,
            _ => &[],
        }
    }

    /// The steps within this one, mutable.
    pub fn body_mut(&mut self) -> Option<&mut Vec<Step>> {
        match &mut self.operation {
            Operation::Call { handler, .. } => Some(handler),
            Operation::RaiseSigusr1(body) | Operation::StartTask(_, body) => Some(body),
            _ => None,
        }
    }
}

/// Numbers the steps in the order of [`listing`], starting with `next`. Returns the number after the last.
pub fn renumber(steps: &mut [Step], mut next: u16) -> u16 {
    for step in steps {
        step.number = next;
        next += 1;
        if let Some(body) = step.body_mut() {
            next = renumber(body, next);
        }
    }
    next
}

/// The addresses in the program that executes walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The range of calls that are not under test.
    pub inside: Range<u64>,
    /// The compared address of calls from each of [`CallSite::ALL`].
    pub compared_addresses: [u64; 4],
    /// The addresses of the selector bytes.
    pub selectors: [u64; 2],
    /// The address for [`Selector::Unmapped`].
    pub unmapped_address: u64,
    /// The address for [`Selector::Kernel`].
    pub kernel_address: u64,
}

impl Layout {
    /// The compared address of a call from this site.
    #[must_use]
    pub fn compared_address(&self, site: CallSite) -> u64 {
        self.compared_addresses[site as usize]
    }

    /// The offset and the length of a range.
    #[must_use]
    pub fn range(&self, range: NamedRange) -> (u64, u64) {
        let (first, second) = (
            self.compared_address(CallSite::FirstGate),
            self.compared_address(CallSite::SecondGate),
        );
        let start = self.inside.start;
        match range {
            NamedRange::Nothing => (0, 0),
            NamedRange::Inside => (start, self.inside.end - start),
            NamedRange::BeforeFirst => (start, first - start),
            NamedRange::ThroughFirst => (start, first - start + 1),
            NamedRange::BeforeSecond => (start, second - start),
            NamedRange::ThroughSecond => (start, second - start + 1),
            NamedRange::Everything => (0, u64::MAX),
            NamedRange::First => (first, 1),
            NamedRange::Instruction => (first - CALL_LENGTH, CALL_LENGTH),
            NamedRange::Second => (second, 1),
            NamedRange::Both => (first, second - first + 1),
            NamedRange::Empty => (first, 0),
            NamedRange::Wrapping => (start, u64::MAX),
        }
    }

    /// The address of a selector.
    #[must_use]
    pub fn selector(&self, selector: Selector) -> u64 {
        match selector {
            Selector::Byte(index) => self.selectors[index],
            Selector::Null => 0,
            Selector::Unmapped => self.unmapped_address,
            Selector::Kernel => self.kernel_address,
        }
    }

    /// The arguments as numbers: mode, offset, length and selector.
    #[must_use]
    pub fn arguments(&self, arguments: Arguments) -> [u64; 4] {
        let (offset, length) = self.range(arguments.range);
        [arguments.mode, offset, length, self.selector(arguments.selector)]
    }

    /// The name of a compared address, for reports.
    #[must_use]
    pub fn address_name(&self, address: u64) -> String {
        match CallSite::ALL.into_iter().find(|site| self.compared_address(*site) == address) {
            Some(site) => site.to_string(),
            None if self.inside.contains(&address) => "inside".to_owned(),
            None => format!("{address:#x}"),
        }
    }
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallSite::Inside => "inside",
            CallSite::FirstGate => "the first gate",
            CallSite::SecondGate => "the second gate",
            CallSite::CompatGate => "the int 0x80 gate",
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Byte(index) => f.write_str(if *index == 0 { "A" } else { "B" }),
            Selector::Null => f.write_str("NULL"),
            Selector::Unmapped => f.write_str("unmapped"),
            Selector::Kernel => f.write_str("a kernel address"),
        }
    }
}

impl fmt::Display for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            0 => write!(f, "OFF")?,
            1 => write!(f, "EXCLUSIVE")?,
            2 => write!(f, "INCLUSIVE")?,
            mode => write!(f, "mode {mode}")?,
        }
        f.write_str(", ")?;
        f.write_str(match self.range {
            NamedRange::Nothing => "0..0",
            NamedRange::Inside => "inside",
            NamedRange::BeforeFirst => "inside..first",
            NamedRange::ThroughFirst => "inside..=first",
            NamedRange::BeforeSecond => "inside..second",
            NamedRange::ThroughSecond => "inside..=second",
            NamedRange::Everything => "0..ULONG_MAX",
            NamedRange::First => "first",
            NamedRange::Instruction => "first's instruction",
            NamedRange::Second => "second",
            NamedRange::Both => "first..=second",
            NamedRange::Empty => "first..first",
            NamedRange::Wrapping => "inside..wrapping",
        })?;
        write!(f, ", {}", self.selector)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Umask(value) => write!(f, "umask({value:#o})"),
            Call::UmaskWithHighBit(value) => write!(f, "umask({value:#o}), number with bit 40,"),
            Call::UnusedNumber => write!(f, "an unused number"),
            Call::MinusOne => write!(f, "number -1"),
            Call::Prctl(arguments) => write!(f, "prctl({arguments})"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Call { site, call, handler, reissues } => {
                write!(f, "{call} from {site}")?;
                match (handler.is_empty(), reissues) {
                    (true, true) => write!(f, "; if dispatched, once more"),
                    (false, true) => write!(f, "; if dispatched, once more after:"),
                    (false, false) => write!(f, "; if dispatched:"),
                    (true, false) => Ok(()),
                }
            }
            Operation::Flip { byte, value } => write!(f, "{} = {value}", Selector::Byte(*byte)),
            Operation::SetDisposition(disposition) => f.write_str(match disposition {
                Disposition::Handler => "SIGSYS is handled",
                Disposition::NoDefer => "SIGSYS is handled, SA_NODEFER",
                Disposition::ResetHand => "SIGSYS is handled, SA_RESETHAND",
                Disposition::Default => "SIGSYS has its default action",
                Disposition::Ignored => "SIGSYS is ignored",
            }),
            Operation::SetSigsysBlocked(true) => f.write_str("SIGSYS is blocked"),
            Operation::SetSigsysBlocked(false) => f.write_str("SIGSYS is unblocked"),
            Operation::RaiseSigusr1(_) => f.write_str("SIGUSR1 is raised; its handler:"),
            Operation::StartTask(new_task, _) => f.write_str(match new_task {
                NewTask::Fork => "fork; the child:",
                NewTask::Vfork => "vfork; the child:",
                NewTask::Thread => "a thread:",
                NewTask::Traced { stops_at_calls: false } => "fork; the child, traced:",
                NewTask::Traced { stops_at_calls: true } => {
                    "fork; the child, traced from call to call:"
                }
            }),
            Operation::SetByTracer(arguments) => write!(f, "the tracer sets {arguments}"),
        }
    }
}

/// The steps as text, one line each.
#[must_use]
pub fn listing(steps: &[Step]) -> String {
    fn add(text: &mut String, steps: &[Step], depth: usize) {
        use fmt::Write as _;
        for step in steps {
            let indent = "  ".repeat(depth);
            let _ = writeln!(text, "{:3} {indent}{}", step.number, step.operation);
            add(text, step.body(), depth + 1);
        }
    }
    let mut text = String::new();
    add(&mut text, steps, 0);
    text
}
