// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The operations of a random walk and their arguments.

use std::ops::Range;

use crate::arch::CALL_LENGTH;

/// The code from which a call is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallSite {
    /// Code in the range that every exclusive configuration of a walk allows.
    Inside,
    /// The gate [`arch::gate`](crate::arch::gate).
    FirstGate,
    /// The gate [`arch::second_gate`](crate::arch::second_gate).
    SecondGate,
    /// The gate that uses `int 0x80`, [`arch::compat_gate`](crate::arch::compat_gate).
    CompatGate,
    /// A copy of the first gate whose first instruction has a uprobe, if the machine permits one.
    GateWithUprobe,
}

impl CallSite {
    /// All call sites, in the order of [`ProgramLayout::compared_addresses`].
    pub const ALL: [CallSite; 5] = [
        CallSite::Inside,
        CallSite::FirstGate,
        CallSite::SecondGate,
        CallSite::CompatGate,
        CallSite::GateWithUprobe,
    ];
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
    /// Offset 0 and length 2^64 - 1, which contains all addresses but the last.
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
    /// From inside beyond the last address, so that the end wraps around to a lower address.
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
    /// `execveat(2)`.
    Exec(Program),
}

impl Call {
    /// This call, or a substitute if it executes a program and the task may not (`may_exec`). The substitute
    /// executes a file of no format, which fails. A thread of a tracee may not execute programs: a successful
    /// exec would give it the thread id of the traced thread, but not the tracer (`de_thread()`).
    #[must_use]
    pub fn permitted(self, may_exec: bool) -> Call {
        match self {
            Call::Exec(Program::Valid) if !may_exec => Call::Exec(Program::NoFormat),
            call => call,
        }
    }
}

/// A program for `execveat(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A program that issues a call and exits with [`PROGRAM_EXIT_CODE`].
    Valid,
    /// A file of no format.
    NoFormat,
    /// The valid program, with arguments at an address that cannot be read.
    UnreadableArguments,
}

/// The exit code of [`Program::Valid`].
pub const PROGRAM_EXIT_CODE: u8 = 77;

/// The umask(2) at the beginning of a sequence.
pub const INITIAL_UMASK: u64 = 0o22;

/// Maximum number of steps of a sequence.
pub(super) const MAX_STEPS: usize = 40;

/// Maximum number of threads side by side.
pub(super) const MAX_LANES: usize = 3;

/// The disposition of SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        /// Whether the tracer attaches by `PTRACE_SEIZE`, not the tracee by `PTRACE_TRACEME`.
        is_seized: bool,
    },
}

/// The action of a seccomp filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterAction {
    /// `SECCOMP_RET_KILL_PROCESS`
    Kill,
    /// `SECCOMP_RET_TRAP` with this number, which the signal carries in `si_errno`.
    Trap(u8),
    /// `SECCOMP_RET_ERRNO` with this error number.
    Errno(u8),
}

/// A seccomp filter that acts on all calls from one site, and allows the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The site.
    pub site: CallSite,
    /// The action.
    pub action: FilterAction,
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
        /// Whether the call is in a critical section of rseq(2), which only the first gate has.
        is_in_section: bool,
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
    /// Installs a seccomp filter.
    InstallFilter {
        /// The filter.
        filter: Filter,
        /// Whether all threads of the process get the filter (`SECCOMP_FILTER_FLAG_TSYNC`).
        for_all_threads: bool,
    },
    /// Executes each of these steps in a thread of its own, all at the same time, and waits for the threads.
    /// Only the first [`MAX_LANES`] steps are executed. If a step is
    /// `StartTask(NewTask::Thread, body)`, its thread executes the body. Afterwards both selector bytes are
    /// 0, and umask(2) and the disposition of SIGSYS are those of the beginning.
    ///
    /// In these threads, only the following steps have an effect: calls without exec and without steps in
    /// the handler, and steps that change a selector byte or the signal mask, yield, or install a filter. At
    /// most one of the threads installs a filter.
    SideBySide(Vec<Step>),
    /// Lets other threads run (`sched_yield(2)`).
    Yield,
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
            Operation::RaiseSigusr1(body)
            | Operation::StartTask(_, body)
            | Operation::SideBySide(body) => body,
            _ => &[],
        }
    }

    /// The steps within this one, mutable.
    pub fn body_mut(&mut self) -> Option<&mut Vec<Step>> {
        match &mut self.operation {
            Operation::Call { handler, .. } => Some(handler),
            Operation::RaiseSigusr1(body)
            | Operation::StartTask(_, body)
            | Operation::SideBySide(body) => Some(body),
            _ => None,
        }
    }
}

/// The number of steps, with those within them.
pub(super) fn count(steps: &[Step]) -> usize {
    steps.iter().map(|step| 1 + count(step.body())).sum()
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
pub struct ProgramLayout {
    /// The addresses of calls that are not under test.
    pub inside: Range<u64>,
    /// The compared address of calls from each of [`CallSite::ALL`].
    pub compared_addresses: [u64; 5],
    /// The address at which the first gate continues after its critical section is aborted.
    pub abort_address: u64,
    /// The addresses of the selector bytes.
    pub selectors: [u64; 2],
    /// The address for [`Selector::Unmapped`].
    pub unmapped_address: u64,
    /// The address for [`Selector::Kernel`].
    pub kernel_address: u64,
    /// The descriptors of the files for [`Program::Valid`] and [`Program::NoFormat`].
    pub program_files: [u64; 2],
    /// The address of an empty path.
    pub empty_path: u64,
}

impl ProgramLayout {
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
            None if address == self.abort_address => "the first gate's abort address".to_owned(),
            None if self.inside.contains(&address) => "inside".to_owned(),
            None => format!("{address:#x}"),
        }
    }
}

/// The steps that a thread executes for a step of [`Operation::SideBySide`].
pub(super) fn lane_steps(step: &Step) -> &[Step] {
    match &step.operation {
        Operation::StartTask(NewTask::Thread, steps) => steps,
        _ => std::slice::from_ref(step),
    }
}
