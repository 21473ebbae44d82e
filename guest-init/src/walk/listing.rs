// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The operations of a random walk in words.

use super::operations::{
    Arguments, Call, CallSite, Disposition, Filter, FilterAction, NamedRange, NewTask, Operation,
    Program, Selector, Step,
};
use std::fmt;

impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallSite::Inside => "inside",
            CallSite::FirstGate => "the first gate",
            CallSite::SecondGate => "the second gate",
            CallSite::CompatGate => "the int 0x80 gate",
            CallSite::GateWithUprobe => "the probed gate",
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
            Call::Exec(Program::Valid) => write!(f, "exec of a program"),
            Call::Exec(Program::NoFormat) => write!(f, "exec of a file of no format"),
            Call::Exec(Program::UnreadableArguments) => {
                write!(f, "exec with arguments that cannot be read")
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            FilterAction::Kill => write!(f, "kills for calls from {}", self.site),
            FilterAction::Trap(data) => write!(f, "traps calls from {} with {data}", self.site),
            FilterAction::Errno(errno) => {
                write!(f, "fails calls from {} with {}", self.site, crate::sys::Errno(errno.into()))
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Call { site, call, handler, reissues, is_in_section } => {
                write!(f, "{call} from {site}")?;
                if *is_in_section {
                    write!(f, " in a critical section")?;
                }
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
                NewTask::Traced { stops_at_calls: false, is_seized: false } => {
                    "fork; the child, traced:"
                }
                NewTask::Traced { stops_at_calls: true, is_seized: false } => {
                    "fork; the child, traced from call to call:"
                }
                NewTask::Traced { stops_at_calls: false, is_seized: true } => {
                    "fork; the child, seized:"
                }
                NewTask::Traced { stops_at_calls: true, is_seized: true } => {
                    "fork; the child, seized and traced from call to call:"
                }
            }),
            Operation::SetByTracer(arguments) => write!(f, "the tracer sets {arguments}"),
            Operation::InstallFilter { filter, for_all_threads: false } => {
                write!(f, "a seccomp filter {filter}")
            }
            Operation::InstallFilter { filter, for_all_threads: true } => {
                write!(f, "for all threads, a seccomp filter {filter}")
            }
            Operation::SideBySide(_) => f.write_str("at once, each in a thread:"),
            Operation::Yield => f.write_str("the thread yields"),
        }
    }
}

/// The steps as text, one line each.
#[must_use]
pub(super) fn listing(steps: &[Step]) -> String {
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
