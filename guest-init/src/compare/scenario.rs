// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Scenarios in which a program makes the watched call, and variants of the call within a scenario.

use crate::arch::{CallInstruction, FrameFormat, HARMLESS_FLAGS, TRAP_FLAG};
use crate::support::PAGE_SIZE;

/// The cause of the signal at the watched call.
///
/// The call is the same for all causes but the last: an `rt_tgsigqueueinfo(2)` that queues a SIGSYS to its caller,
/// with the siginfo that a dispatch of this call has. For the last cause it queues another signal, whose siginfo
/// differs in `si_signo` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Dispatch: the selector is at BLOCK, and the call is outside the allowed range.
    Dispatch,
    /// Dispatch without a selector: the call is outside the allowed range.
    DispatchWithoutSelector,
    /// Dispatch in inclusive mode: the call is inside the range.
    InclusiveDispatch,
    /// A seccomp filter that returns `SECCOMP_RET_TRAP`.
    SeccompTrap,
    /// The call itself, which is executed and queues the SIGSYS.
    QueuedSigsys,
    /// The call itself, which is executed and queues another signal.
    QueuedOtherSignal,
}

/// The kind of task that makes the call.
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
    WithRefusedRequests,
    /// The tracer arms the task and then detaches.
    ByTracer,
}

/// The events in the task before the watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum History {
    /// No events.
    None,
    /// This number of dispatches.
    Dispatches(u32),
    /// A dispatch in the handler of another signal. The handler has returned.
    DispatchInHandler,
}

/// The state of the task's parent when it forked the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Neither armed nor traced.
    Ordinary,
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
    RewritingTracer,
}

/// The seccomp filter of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    None,
    /// Allows all calls.
    AllowAll,
    /// Traps the watched call and allows all others.
    TrapWatchedCall,
}

/// The conditions under which a program makes the watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The cause of the signal.
    pub(crate) cause: Cause,
    /// The instruction of the call.
    pub(crate) instruction: CallInstruction,
    /// The instruction whose calling convention the registers follow. This instruction can differ from
    /// `instruction`, since a dispatched call is not executed.
    pub(crate) convention: CallInstruction,
    /// The format of the signal frames.
    pub(crate) frames: FrameFormat,
    pub(crate) task: Task,
    pub(crate) arming: Arming,
    pub(crate) history: History,
    pub(crate) parent: Parent,
    pub(crate) monitor: Monitor,
    pub(crate) filter: Filter,
    /// Whether the scenario is thorough: it runs all variants that need no 32-bit code.
    pub(crate) is_thorough: bool,
}

impl Scenario {
    /// Whether the scenario has 32-bit code. The stacks of such a scenario are below 4 GiB.
    pub(crate) fn has_compat_code(&self) -> bool {
        self.instruction == CallInstruction::CompatCode
    }

    /// Whether a variant runs in this scenario.
    pub(crate) fn runs(&self, variant: &Variant) -> bool {
        match variant.scenarios {
            RunIn::All => true,
            RunIn::Thorough => self.is_thorough,
            RunIn::ThoroughAndCompatCode => self.is_thorough || self.has_compat_code(),
            RunIn::CompatCode => self.has_compat_code(),
        }
    }
}

/// A dispatch in a process without a filter, a monitor, a history or a special parent.
pub(crate) const PLAIN: Scenario = Scenario {
    cause: Cause::Dispatch,
    instruction: CallInstruction::Native,
    convention: CallInstruction::Native,
    frames: FrameFormat::Native,
    task: Task::Leader,
    arming: Arming::Once,
    history: History::None,
    parent: Parent::Ordinary,
    monitor: Monitor::None,
    filter: Filter::None,
    is_thorough: false,
};

/// Size of an alternate stack that is too small for a frame with extended state, in bytes: `MINSIGSTKSZ`. A
/// frame fits on it if the processor has little state, such as SSE and AVX alone.
pub(crate) const SMALL_STACK_LENGTH: usize = 2048;

/// Size of the ordinary stack, and of the alternate stack, in bytes.
pub(crate) const STACK_LENGTH: usize = PAGE_SIZE + 1024;

/// The alternate signal stack at the call (`sigaltstack(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AltStack {
    /// No alternate stack is set.
    None,
    /// An alternate stack is set, and the handler has no `SA_ONSTACK`.
    NotRequested,
    /// An alternate stack is set, and the handler has `SA_ONSTACK`.
    Requested,
    /// As `Requested`, with `SS_AUTODISARM`.
    AutoDisarm,
    /// The call is made on the alternate stack.
    Current,
    /// The call is made on an alternate stack with `SS_AUTODISARM`.
    CurrentAutoDisarm,
    /// The handler has `SA_ONSTACK`, and the stack's memory is read-only.
    ReadOnly,
    /// The handler has `SA_ONSTACK`, and the stack has the size [`SMALL_STACK_LENGTH`].
    Small,
}

/// The scenarios that run a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunIn {
    /// All scenarios.
    All,
    /// The thorough scenarios ([`Scenario::is_thorough`]).
    Thorough,
    /// The thorough scenarios, and those with 32-bit code.
    ThoroughAndCompatCode,
    /// The scenarios with 32-bit code. Some of them have native frames, the others compat frames.
    CompatCode,
}

/// A variant of the watched call: stack, flags, handler and signal mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) alt_stack: AltStack,
    /// Processor flags that are set at the call, in addition to those that are always set.
    pub(crate) processor_flags: u64,
    /// `SA_*` flags of the handler.
    pub(crate) handler_flags: i32,
    /// Signals that the handler blocks.
    pub(crate) handler_mask: u64,
    /// Signals that are blocked at the call.
    pub(crate) blocked: u64,
    /// Whether the signals in `blocked` are pending.
    pub(crate) are_blocked_pending: bool,
    /// Bytes by which the stack pointer is misaligned.
    pub(crate) misalignment: u64,
    /// Whether the floating point state is the initial one instead of a pattern.
    pub(crate) has_initial_floating: bool,
    /// The scenarios that run the variant.
    pub(crate) scenarios: RunIn,
    /// Whether the handler changes the mask and the floating point state in its frame.
    pub(crate) edits_frame: bool,
}

impl Variant {
    /// The first signal that the task handles after the call. `signal_of_call` is the signal that the call
    /// causes. `None` if the trap flag is set: then the kernel may deliver SIGTRAP first.
    /// `None` too for a small stack, if the kernel does not tell whether a frame fits on it.
    pub(crate) fn first_signal(&self, signal_of_call: i32) -> Option<i32> {
        match self.alt_stack {
            AltStack::ReadOnly => Some(libc::SIGSEGV),
            AltStack::Small => match largest_frame() {
                0 => None,
                size if size > SMALL_STACK_LENGTH => Some(libc::SIGSEGV),
                _ => Some(signal_of_call),
            },
            _ if self.processor_flags & TRAP_FLAG != 0 => None,
            _ => Some(signal_of_call),
        }
    }
}

/// The size of the largest signal frame on this processor, in bytes: `get_sigframe_size()`. 0 if the kernel
/// does not tell the size, as x86-64 before 5.14.
fn largest_frame() -> usize {
    // SAFETY: takes no pointers.
    let size: u64 = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The variant without special state.
const PLAIN_VARIANT: Variant = Variant {
    name: "plain",
    alt_stack: AltStack::None,
    processor_flags: 0,
    handler_flags: libc::SA_SIGINFO,
    handler_mask: 0,
    blocked: 0,
    are_blocked_pending: false,
    misalignment: 0,
    has_initial_floating: false,
    scenarios: RunIn::Thorough,
    edits_frame: false,
};

/// All variants.
pub(crate) const VARIANTS: &[Variant] = &[
    PLAIN_VARIANT,
    Variant {
        name: "flags",
        processor_flags: HARMLESS_FLAGS,
        scenarios: RunIn::All,
        ..PLAIN_VARIANT
    },
    Variant { name: "trap-flag", processor_flags: TRAP_FLAG, ..PLAIN_VARIANT },
    Variant { name: "initial-state", has_initial_floating: true, ..PLAIN_VARIANT },
    Variant { name: "skewed-stack", misalignment: 5, ..PLAIN_VARIANT },
    Variant { name: "alternate-unasked", alt_stack: AltStack::NotRequested, ..PLAIN_VARIANT },
    Variant {
        name: "alternate",
        alt_stack: AltStack::Requested,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "alternate-disarming",
        alt_stack: AltStack::AutoDisarm,
        scenarios: RunIn::All,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        processor_flags: TRAP_FLAG,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "alternate-entered",
        alt_stack: AltStack::Current,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "alternate-entered-disarming",
        alt_stack: AltStack::CurrentAutoDisarm,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "alternate-unwritable",
        alt_stack: AltStack::ReadOnly,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        processor_flags: HARMLESS_FLAGS,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "alternate-small",
        alt_stack: AltStack::Small,
        handler_flags: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "no-siginfo",
        handler_flags: 0,
        // SIGUSR1, SIGALRM and two real-time signals. Bit N of a mask is signal N + 1.
        blocked: 1 << 9 | 1 << 13 | 1 << 47 | 1 << 63,
        // SIGUSR2 and a real-time signal.
        handler_mask: 1 << 11 | 1 << 39,
        are_blocked_pending: true,
        processor_flags: HARMLESS_FLAGS,
        scenarios: RunIn::ThoroughAndCompatCode,
        edits_frame: true,
        ..PLAIN_VARIANT
    },
    Variant { name: "edited", edits_frame: true, scenarios: RunIn::CompatCode, ..PLAIN_VARIANT },
    Variant {
        name: "edited-initial-state",
        edits_frame: true,
        has_initial_floating: true,
        scenarios: RunIn::CompatCode,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "nodefer",
        handler_flags: libc::SA_SIGINFO | libc::SA_NODEFER,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "resethand-restart",
        handler_flags: libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_RESTART,
        ..PLAIN_VARIANT
    },
    Variant {
        name: "masks",
        // SIGUSR1, SIGALRM and the last real-time signal.
        blocked: 1 << 9 | 1 << 13 | 1 << 63,
        // SIGUSR2 and a real-time signal.
        handler_mask: 1 << 11 | 1 << 39,
        are_blocked_pending: true,
        scenarios: RunIn::All,
        ..PLAIN_VARIANT
    },
];
