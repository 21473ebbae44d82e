// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a walk is made of: operations, and where and with what they are done.

use std::fmt;
use std::ops::Range;

/// Where a call is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the range that every exclusive configuration of a walk allows.
    Inside,
    /// From the first gate.
    First,
    /// From the second gate.
    Second,
    /// From the gate that enters the kernel by `int 0x80`.
    Compat,
}

impl Place {
    /// Every place, in the order of [`Layout::after`].
    pub const ALL: [Place; 4] = [Place::Inside, Place::First, Place::Second, Place::Compat];
}

/// A range as prctl takes it, by what it covers. What is compared with it is the address behind
/// the instruction that enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Offset and length 0.
    Nothing,
    /// Inside alone.
    Inside,
    /// From inside to the last byte before what is compared for the first gate.
    BeforeFirst,
    /// From inside to that byte.
    ThroughFirst,
    /// From inside to the last byte before what is compared for the second gate.
    BeforeSecond,
    /// From inside to that byte.
    ThroughSecond,
    /// From 0 to the last but one address there is.
    Everything,
    /// The one byte of the first gate that counts.
    First,
    /// The instruction of the first gate, whose bytes do not count.
    Instruction,
    /// The one byte of the second gate that counts.
    Second,
    /// Both gates.
    Both,
    /// No byte, at the first gate.
    Empty,
    /// From inside past the last address.
    Wrapping,
}

impl Span {
    /// Those with which exclusive mode leaves inside alone, or which it refuses.
    pub const EXCLUSIVE: [Span; 8] = [
        Span::Inside,
        Span::BeforeFirst,
        Span::ThroughFirst,
        Span::BeforeSecond,
        Span::ThroughSecond,
        Span::Everything,
        Span::Empty,
        Span::Wrapping,
    ];
    /// Those with which inclusive mode leaves inside alone, or which it refuses.
    pub const INCLUSIVE: [Span; 7] = [
        Span::First,
        Span::Instruction,
        Span::Second,
        Span::Both,
        Span::Nothing,
        Span::Empty,
        Span::Wrapping,
    ];
}

/// A selector as prctl takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One of two bytes.
    Byte(usize),
    /// None.
    Null,
    /// An address at which nothing is mapped.
    Unmapped,
    /// An address of the kernel's.
    Kernel,
}

/// The arguments of prctl and of `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `PR_SYS_DISPATCH_*`, or a number that is none.
    pub mode: u64,
    /// The range.
    pub span: Span,
    /// The selector.
    pub selector: Selector,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `umask(2)`: its effect shows in the result of the next.
    Umask(u16),
    /// The same with a bit of the number set that only the register keeps.
    FarUmask(u16),
    /// A number that no kernel implements.
    Unused,
    /// The number -1.
    MinusOne,
    /// `prctl(PR_SET_SYSCALL_USER_DISPATCH)`.
    Prctl(Arguments),
}

/// What is done with SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// A handler in which SIGSYS is blocked.
    Handler,
    /// A handler in which it is not.
    Nesting,
    /// A handler for one time.
    Once,
    /// The default action.
    Default,
    /// It is ignored.
    Ignored,
}

/// How a child is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// With memory of its own.
    Copied,
    /// With its parent's memory, as after `vfork(2)`.
    Shared,
    /// As a thread.
    Thread,
    /// With memory of its own, traced by its parent, from call to call if so said.
    Traced {
        /// Whether the parent sees its system calls.
        calls: bool,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A call is issued.
    Call {
        /// Where.
        place: Place,
        /// Which.
        call: Call,
        /// What the handler does if it is dispatched.
        handler: Vec<Step>,
        /// Whether the handler then steps back, so that the call is issued once more.
        again: bool,
    },
    /// A selector byte is stored.
    Flip {
        /// Which of the two.
        byte: usize,
        /// The value.
        value: u8,
    },
    /// The handling of SIGSYS is set.
    Handle(Handling),
    /// SIGSYS is blocked or unblocked.
    Block(bool),
    /// Another signal is raised, and its handler does this.
    Signal(Vec<Step>),
    /// A child or thread does this, and is waited for.
    Birth(Birth, Vec<Step>),
    /// If this task is traced, it stops and its tracer sets and reads its configuration.
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
    /// The steps that are part of this one.
    #[must_use]
    pub fn body(&self) -> &[Step] {
        match &self.operation {
            Operation::Call { handler, .. } => handler,
            Operation::Signal(body) | Operation::Birth(_, body) => body,
            _ => &[],
        }
    }

    /// The same, to be changed.
    pub fn body_mut(&mut self) -> Option<&mut Vec<Step>> {
        match &mut self.operation {
            Operation::Call { handler, .. } => Some(handler),
            Operation::Signal(body) | Operation::Birth(_, body) => Some(body),
            _ => None,
        }
    }
}

/// Numbers the steps as they are written, from `next` on; gives the next number.
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

/// Where things are in the program that walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The range of all calls that are not under test.
    pub inside: Range<u64>,
    /// For each of [`Place::ALL`], an address behind an instruction that enters the kernel.
    pub after: [u64; 4],
    /// The selector bytes.
    pub selectors: [u64; 2],
    /// For [`Selector::Unmapped`].
    pub unmapped: u64,
    /// For [`Selector::Kernel`].
    pub kernel: u64,
}

impl Layout {
    /// What is compared with the range for a call from there.
    #[must_use]
    pub fn after(&self, place: Place) -> u64 {
        self.after[place as usize]
    }

    /// Offset and length of a range.
    #[must_use]
    pub fn range(&self, span: Span) -> (u64, u64) {
        let (first, second) = (self.after(Place::First), self.after(Place::Second));
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
            Span::Instruction => (first - 2, 2),
            Span::Second => (second, 1),
            Span::Both => (first, second - first + 1),
            Span::Empty => (first, 0),
            Span::Wrapping => (start, u64::MAX),
        }
    }

    /// Address of a selector.
    #[must_use]
    pub fn selector(&self, selector: Selector) -> u64 {
        match selector {
            Selector::Byte(which) => self.selectors[which],
            Selector::Null => 0,
            Selector::Unmapped => self.unmapped,
            Selector::Kernel => self.kernel,
        }
    }

    /// Mode, offset, length and selector as the kernel takes them.
    #[must_use]
    pub fn arguments(&self, arguments: Arguments) -> [u64; 4] {
        let (offset, length) = self.range(arguments.span);
        [arguments.mode, offset, length, self.selector(arguments.selector)]
    }

    /// An address in words.
    #[must_use]
    pub fn name(&self, after: u64) -> String {
        match Place::ALL.into_iter().find(|place| self.after(*place) == after) {
            Some(place) => place.to_string(),
            None if self.inside.contains(&after) => "inside".to_owned(),
            None => format!("{after:#x}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Inside => "inside",
            Place::First => "the first gate",
            Place::Second => "the second gate",
            Place::Compat => "the int 0x80 gate",
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
            Operation::Call { place, call, handler, again } => {
                write!(f, "{call} from {place}")?;
                match (handler.is_empty(), again) {
                    (true, true) => write!(f, "; if dispatched, once more"),
                    (false, true) => write!(f, "; if dispatched, once more after:"),
                    (false, false) => write!(f, "; if dispatched:"),
                    (true, false) => Ok(()),
                }
            }
            Operation::Flip { byte, value } => write!(f, "{} = {value}", Selector::Byte(*byte)),
            Operation::Handle(handling) => f.write_str(match handling {
                Handling::Handler => "SIGSYS is handled",
                Handling::Nesting => "SIGSYS is handled, SA_NODEFER",
                Handling::Once => "SIGSYS is handled, SA_RESETHAND",
                Handling::Default => "SIGSYS has its default action",
                Handling::Ignored => "SIGSYS is ignored",
            }),
            Operation::Block(true) => f.write_str("SIGSYS is blocked"),
            Operation::Block(false) => f.write_str("SIGSYS is unblocked"),
            Operation::Signal(_) => f.write_str("SIGUSR1 is raised; its handler:"),
            Operation::Birth(birth, _) => f.write_str(match birth {
                Birth::Copied => "fork; the child:",
                Birth::Shared => "vfork; the child:",
                Birth::Thread => "a thread:",
                Birth::Traced { calls: false } => "fork; the child, traced:",
                Birth::Traced { calls: true } => "fork; the child, traced from call to call:",
            }),
            Operation::Set(arguments) => write!(f, "the tracer sets {arguments}"),
        }
    }
}

/// The steps as text, a line for each.
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
