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
    /// The first gate.
    First,
    /// The second gate.
    Second,
    /// The gate that uses `int 0x80`.
    Compat,
}

impl CallSite {
    /// All call sites, in the order of [`Layout::after`].
    pub const ALL: [CallSite; 4] =
        [CallSite::Inside, CallSite::First, CallSite::Second, CallSite::Compat];
}

/// A range as prctl(2) takes it, named after the addresses that it contains. The kernel compares it
/// with the address after the system call instruction, a gate's *compared address*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
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

impl Span {
    /// The ranges for exclusive mode: calls from inside are not dispatched, or the kernel refuses the
    /// range.
    pub const FOR_EXCLUSIVE: [Span; 8] = [
        Span::Inside,
        Span::BeforeFirst,
        Span::ThroughFirst,
        Span::BeforeSecond,
        Span::ThroughSecond,
        Span::Everything,
        Span::Empty,
        Span::Wrapping,
    ];
    /// The ranges for inclusive mode: calls from inside are not dispatched, or the kernel refuses the
    /// range.
    pub const FOR_INCLUSIVE: [Span; 7] = [
        Span::First,
        Span::Instruction,
        Span::Second,
        Span::Both,
        Span::Nothing,
        Span::Empty,
        Span::Wrapping,
    ];
}

/// A selector as prctl(2) takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One of two selector bytes.
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
    pub span: Span,
    /// The selector.
    pub selector: Selector,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `umask(2)`. The result of the next `umask(2)` shows its effect.
    Umask(u16),
    /// `umask(2)` with a bit of the number register set that the kernel does not read.
    FarUmask(u16),
    /// A number that no kernel implements.
    Unused,
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
    /// A handler for one signal (`SA_RESETHAND`).
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
        calls: bool,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Issues a call.
    Call {
        /// The site.
        site: CallSite,
        /// The call.
        call: Call,
        /// The steps of the handler, if the call is dispatched.
        handler: Vec<Step>,
        /// Whether the handler then makes the program issue the call again.
        again: bool,
    },
    /// Stores a selector byte.
    Flip {
        /// The index of the byte.
        byte: usize,
        /// The value.
        value: u8,
    },
    /// Sets the disposition of SIGSYS.
    Handle(Disposition),
    /// Blocks or unblocks SIGSYS.
    Block(bool),
    /// Raises SIGUSR1, whose handler executes these steps.
    Signal(Vec<Step>),
    /// Starts a task that executes these steps, and waits for its end.
    StartTask(NewTask, Vec<Step>),
    /// Stops a traced task, whose tracer sets and reads the configuration.
    Set(Arguments),
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
            Operation::Signal(body) | Operation::StartTask(_, body) => body,
            _ => &[],
        }
    }

    /// The steps within this one, mutable.
    pub fn body_mut(&mut self) -> Option<&mut Vec<Step>> {
        match &mut self.operation {
            Operation::Call { handler, .. } => Some(handler),
            Operation::Signal(body) | Operation::StartTask(_, body) => Some(body),
            _ => None,
        }
    }
}

/// Numbers the steps in the order of the listing, starting with `next`. Returns the next free number.
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
    /// The address after the system call instruction, for each of [`CallSite::ALL`].
    pub after: [u64; 4],
    /// The addresses of the selector bytes.
    pub selectors: [u64; 2],
    /// The address for [`Selector::Unmapped`].
    pub unmapped: u64,
    /// The address for [`Selector::Kernel`].
    pub kernel: u64,
}

impl Layout {
    /// The address that the kernel compares with the range for a call from this site.
    #[must_use]
    pub fn after(&self, site: CallSite) -> u64 {
        self.after[site as usize]
    }

    /// The offset and the length of a range.
    #[must_use]
    pub fn range(&self, span: Span) -> (u64, u64) {
        let (first, second) = (self.after(CallSite::First), self.after(CallSite::Second));
        let start = self.inside.start;
        match span {
            Span::Nothing => (0, 0),
            Span::Inside => (start, self.inside.end - start),
            Span::BeforeFirst => (start, first - start),
            Span::ThroughFirst => (start, first - start + 1),
            Span::BeforeSecond => (start, second - start),
            Span::ThroughSecond => (start, second - start + 1),
            Span::Everything => (0, u64::MAX),
            Span::First => (first, 1),
            Span::Instruction => (first - CALL_LENGTH, CALL_LENGTH),
            Span::Second => (second, 1),
            Span::Both => (first, second - first + 1),
            Span::Empty => (first, 0),
            Span::Wrapping => (start, u64::MAX),
        }
    }

    /// The address of a selector.
    #[must_use]
    pub fn selector(&self, selector: Selector) -> u64 {
        match selector {
            Selector::Byte(which) => self.selectors[which],
            Selector::Null => 0,
            Selector::Unmapped => self.unmapped,
            Selector::Kernel => self.kernel,
        }
    }

    /// The arguments as the kernel takes them: mode, offset, length and selector.
    #[must_use]
    pub fn arguments(&self, arguments: Arguments) -> [u64; 4] {
        let (offset, length) = self.range(arguments.span);
        [arguments.mode, offset, length, self.selector(arguments.selector)]
    }

    /// The name of an address, for reports.
    #[must_use]
    pub fn name(&self, after: u64) -> String {
        match CallSite::ALL.into_iter().find(|site| self.after(*site) == after) {
            Some(site) => site.to_string(),
            None if self.inside.contains(&after) => "inside".to_owned(),
            None => format!("{after:#x}"),
        }
    }
}

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallSite::Inside => "inside",
            CallSite::First => "the first gate",
            CallSite::Second => "the second gate",
            CallSite::Compat => "the int 0x80 gate",
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Byte(which) => f.write_str(if *which == 0 { "A" } else { "B" }),
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
        f.write_str(match self.span {
            Span::Nothing => "0..0",
            Span::Inside => "inside",
            Span::BeforeFirst => "inside..first",
            Span::ThroughFirst => "inside..=first",
            Span::BeforeSecond => "inside..second",
            Span::ThroughSecond => "inside..=second",
            Span::Everything => "0..ULONG_MAX",
            Span::First => "first",
            Span::Instruction => "first's instruction",
            Span::Second => "second",
            Span::Both => "first..=second",
            Span::Empty => "first..first",
            Span::Wrapping => "inside..wrapping",
        })?;
        write!(f, ", {}", self.selector)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Umask(value) => write!(f, "umask({value:#o})"),
            Call::FarUmask(value) => write!(f, "umask({value:#o}), number with bit 40,"),
            Call::Unused => write!(f, "an unused number"),
            Call::MinusOne => write!(f, "number -1"),
            Call::Prctl(arguments) => write!(f, "prctl({arguments})"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Call { site, call, handler, again } => {
                write!(f, "{call} from {site}")?;
                match (handler.is_empty(), again) {
                    (true, true) => write!(f, "; if dispatched, once more"),
                    (false, true) => write!(f, "; if dispatched, once more after:"),
                    (false, false) => write!(f, "; if dispatched:"),
                    (true, false) => Ok(()),
                }
            }
            Operation::Flip { byte, value } => write!(f, "{} = {value}", Selector::Byte(*byte)),
            Operation::Handle(disposition) => f.write_str(match disposition {
                Disposition::Handler => "SIGSYS is handled",
                Disposition::NoDefer => "SIGSYS is handled, SA_NODEFER",
                Disposition::ResetHand => "SIGSYS is handled, SA_RESETHAND",
                Disposition::Default => "SIGSYS has its default action",
                Disposition::Ignored => "SIGSYS is ignored",
            }),
            Operation::Block(true) => f.write_str("SIGSYS is blocked"),
            Operation::Block(false) => f.write_str("SIGSYS is unblocked"),
            Operation::Signal(_) => f.write_str("SIGUSR1 is raised; its handler:"),
            Operation::StartTask(new_task, _) => f.write_str(match new_task {
                NewTask::Fork => "fork; the child:",
                NewTask::Vfork => "vfork; the child:",
                NewTask::Thread => "a thread:",
                NewTask::Traced { calls: false } => "fork; the child, traced:",
                NewTask::Traced { calls: true } => "fork; the child, traced from call to call:",
            }),
            Operation::Set(arguments) => write!(f, "the tracer sets {arguments}"),
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
