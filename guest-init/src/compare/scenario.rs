// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Scenarios in which a program makes the watched call, and variants of the call within a scenario.

use crate::arch::{CallInstruction, FrameFormat, HARMLESS_FLAGS, TRAP_FLAG};
use crate::support::PAGE_SIZE;

/// The cause of the SIGSYS at the watched call.
///
/// The call is the same for all causes: `rt_tgsigqueueinfo(2)`, asked to queue a SIGSYS to the
/// caller with the same siginfo that a dispatch of this call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Dispatch: the selector is at BLOCK, and the call is outside the allowed range.
    Dispatch,
    /// Dispatch without a selector: the call is outside the allowed range.
    NoSelector,
    /// Dispatch in inclusive mode: the call is inside the range.
    Inclusive,
    /// A seccomp filter that answers `SECCOMP_RET_TRAP`.
    Trap,
    /// The call itself: it is executed and queues the SIGSYS.
    Queued,
    /// The call itself: it is executed and queues another signal with the same siginfo otherwise.
    QueuedOther,
}

/// The task that makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The first thread of a process.
    Leader,
    /// Another thread.
    Thread,
    /// The init of a PID namespace.
    NamespaceInit,
}

/// The way in which the task is armed before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arming {
    /// The task arms itself once.
    Once,
    /// The task is never armed.
    Never,
    /// The task arms itself and disarms again.
    Disarmed,
    /// The task arms itself twice with the same configuration.
    Twice,
    /// The task arms and disarms itself a thousand times, then arms.
    Toggled,
    /// The task arms with another configuration, then with the usual one, then makes requests that
    /// the kernel refuses.
    Refused,
    /// The tracer arms the task and then detaches.
    ByTracer,
}

/// The events in the task before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// None.
    Fresh,
    /// This number of dispatches.
    Dispatches(u32),
    /// A dispatch in the handler of another signal, which returned.
    Handler,
}

/// The state of the task's parent when it forked the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Neither armed nor traced.
    Plain,
    /// Armed, after a dispatch.
    Armed,
    /// Single-stepped by its tracer over the fork.
    Stepped,
    /// Stopped by its tracer at entry and exit of the fork.
    Traced,
}

/// The mechanism that observes the task's calls besides the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Monitor {
    None,
    /// The tracepoints `raw_syscalls:*`.
    Tracepoints,
    /// An audit rule.
    Audit,
    /// A tracer that uses `PTRACE_SYSCALL` and delivers all signals.
    Tracer,
    /// A tracer that at each stop reads all state that it can and writes the same values back.
    Rewriter,
}

/// The seccomp filter of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    None,
    /// Allows everything.
    Allow,
    /// Traps the watched call and allows all others.
    Trap,
}

/// The conditions under which a program makes the watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The cause of the SIGSYS.
    pub(crate) cause: Cause,
    /// The instruction of the call.
    pub(crate) entry: CallInstruction,
    /// The instruction whose calling convention the registers follow. It can differ from `entry`:
    /// a dispatched call is not executed.
    pub(crate) convention: CallInstruction,
    /// The format of the signal frames.
    pub(crate) frames: FrameFormat,
    pub(crate) task: Task,
    pub(crate) arming: Arming,
    pub(crate) history: History,
    pub(crate) parent: Parent,
    pub(crate) monitor: Monitor,
    pub(crate) filter: Filter,
    /// Whether the variants of [`RunIn::Full`] run too.
    pub(crate) every_variant: bool,
}

impl Scenario {
    /// Whether the scenario has 32-bit code. Its stacks are then below 4 GiB.
    pub(crate) fn has_compat_code(&self) -> bool {
        self.entry == CallInstruction::CompatCode
    }

    /// Whether a variant runs in this scenario.
    pub(crate) fn runs(&self, variant: &Variant) -> bool {
        match variant.scenarios {
            RunIn::All => true,
            RunIn::Full => self.every_variant,
            RunIn::FullAndCompatCode => self.every_variant || self.has_compat_code(),
            RunIn::CompatCode => self.has_compat_code(),
        }
    }
}

/// A dispatch in a process without a filter, a monitor, a history or a special parent.
pub(crate) const PLAIN: Scenario = Scenario {
    cause: Cause::Dispatch,
    entry: CallInstruction::Native,
    convention: CallInstruction::Native,
    frames: FrameFormat::Native,
    task: Task::Leader,
    arming: Arming::Once,
    history: History::Fresh,
    parent: Parent::Plain,
    monitor: Monitor::None,
    filter: Filter::None,
    every_variant: false,
};

/// Size of an alternate stack that is too small for a frame with extended state, in bytes: `MINSIGSTKSZ`.
pub(crate) const SMALL_STACK: usize = 2048;

/// Size of the normal stack and of the alternate stack, in bytes each.
pub(crate) const STACK: usize = PAGE_SIZE + 1024;

/// The alternate signal stack at the call (`sigaltstack(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AltStack {
    /// None is set.
    None,
    /// One is set, and the handler has no `SA_ONSTACK`.
    NotRequested,
    /// One is set, and the handler has `SA_ONSTACK`.
    Requested,
    /// As `Requested`, with `SS_AUTODISARM`.
    AutoDisarm,
    /// The call is made on the alternate stack.
    Current,
    /// The call is made on an alternate stack with `SS_AUTODISARM`.
    CurrentAutoDisarm,
    /// The handler has `SA_ONSTACK`, and the stack's memory is read-only.
    ReadOnly,
    /// The handler has `SA_ONSTACK`, and the stack is too small for a frame.
    Small,
}

/// The scenarios that run a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunIn {
    /// All.
    All,
    /// Those that run every variant.
    Full,
    /// Those that run every variant, and those with 32-bit code.
    FullAndCompatCode,
    /// Those with 32-bit code. They have frames of both formats.
    CompatCode,
}

/// A variant of the watched call: stack, flags, handler and signal mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) alt_stack: AltStack,
    /// Processor flags that are set in addition to the fixed ones.
    pub(crate) flags: u64,
    /// `SA_*` flags of the handler.
    pub(crate) action: i32,
    /// Signals that the handler blocks.
    pub(crate) handler_mask: u64,
    /// Signals that are blocked at the call.
    pub(crate) blocked: u64,
    /// Whether the signals in `blocked` are pending.
    pub(crate) pending: bool,
    /// Bytes by which the stack pointer is misaligned.
    pub(crate) misalignment: u64,
    /// Whether the floating point state is the initial one instead of a pattern.
    pub(crate) initial_floating: bool,
    /// The scenarios that run the variant.
    pub(crate) scenarios: RunIn,
    /// Whether the handler changes the mask and the floating point state in its frame.
    pub(crate) edits: bool,
}

impl Variant {
    /// The first signal of the call, if the variant determines it; `watched` is the signal that the call
    /// causes.
    pub(crate) fn first_signal(&self, watched: i32) -> Option<i32> {
        match self.alt_stack {
            AltStack::ReadOnly | AltStack::Small => Some(libc::SIGSEGV),
            _ if self.flags & TRAP_FLAG != 0 => None,
            _ => Some(watched),
        }
    }
}

const BASE: Variant = Variant {
    name: "plain",
    alt_stack: AltStack::None,
    flags: 0,
    action: libc::SA_SIGINFO,
    handler_mask: 0,
    blocked: 0,
    pending: false,
    misalignment: 0,
    initial_floating: false,
    scenarios: RunIn::Full,
    edits: false,
};

/// All variants.
pub(crate) const VARIANTS: &[Variant] = &[
    BASE,
    Variant { name: "flags", flags: HARMLESS_FLAGS, scenarios: RunIn::All, ..BASE },
    Variant { name: "trap-flag", flags: TRAP_FLAG, ..BASE },
    Variant { name: "initial-state", initial_floating: true, ..BASE },
    Variant { name: "skewed-stack", misalignment: 5, ..BASE },
    Variant { name: "alternate-unasked", alt_stack: AltStack::NotRequested, ..BASE },
    Variant {
        name: "alternate",
        alt_stack: AltStack::Requested,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..BASE
    },
    Variant {
        name: "alternate-disarming",
        alt_stack: AltStack::AutoDisarm,
        scenarios: RunIn::All,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        flags: TRAP_FLAG,
        ..BASE
    },
    Variant {
        name: "alternate-entered",
        alt_stack: AltStack::Current,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..BASE
    },
    Variant {
        name: "alternate-entered-disarming",
        alt_stack: AltStack::CurrentAutoDisarm,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..BASE
    },
    Variant {
        name: "alternate-unwritable",
        alt_stack: AltStack::ReadOnly,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        flags: HARMLESS_FLAGS,
        ..BASE
    },
    Variant {
        name: "alternate-small",
        alt_stack: AltStack::Small,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..BASE
    },
    Variant {
        name: "no-siginfo",
        action: 0,
        // SIGUSR1, SIGALRM and two real-time signals.
        blocked: 1 << 9 | 1 << 13 | 1 << 47 | 1 << 63,
        handler_mask: 1 << 11 | 1 << 39,
        pending: true,
        flags: HARMLESS_FLAGS,
        scenarios: RunIn::FullAndCompatCode,
        edits: true,
        ..BASE
    },
    Variant { name: "edited", edits: true, scenarios: RunIn::CompatCode, ..BASE },
    Variant {
        name: "edited-initial-state",
        edits: true,
        initial_floating: true,
        scenarios: RunIn::CompatCode,
        ..BASE
    },
    Variant { name: "nodefer", action: libc::SA_SIGINFO | libc::SA_NODEFER, ..BASE },
    Variant {
        name: "resethand-restart",
        action: libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_RESTART,
        ..BASE
    },
    Variant {
        name: "masks",
        // SIGUSR1, SIGALRM and the last real-time signal.
        blocked: 1 << 9 | 1 << 13 | 1 << 63,
        // SIGUSR2 and a real-time signal.
        handler_mask: 1 << 11 | 1 << 39,
        pending: true,
        scenarios: RunIn::All,
        ..BASE
    },
];
