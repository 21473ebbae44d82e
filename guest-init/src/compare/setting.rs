// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The settings in which a program can be when a SIGSYS is raised, and the scenes that it plays.

use crate::arch::{Entry, TRAP_FLAG, WATCH_FLAGS};
use crate::support::PAGE;

/// How the SIGSYS of a watched call comes about. The call is the same for all: it asks that a SIGSYS
/// is queued to the caller, with the very information that a dispatch of it would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raise {
    /// The selector says BLOCK, and the call is outside the range.
    Dispatch,
    /// There is no selector, and the call is outside the range.
    Unselected,
    /// The call is inside an inclusive range.
    Inclusive,
    /// A filter answers `SECCOMP_RET_TRAP`.
    Trap,
    /// The call is executed.
    Queue,
}

/// Which task makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The first thread of a process.
    Leader,
    /// Another thread.
    Thread,
    /// The init of a PID namespace.
    NamespaceInit,
}

/// Who arms, and with which detours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Armed {
    /// The task itself.
    Once,
    /// Nobody.
    Not,
    /// The task itself, which disarms again.
    Off,
    /// It arms with the same twice.
    Twice,
    /// It arms and disarms a thousand times before.
    Toggled,
    /// It arms with something else first, and asks for what is refused last.
    Refused,
    /// Its tracer, which then lets go of it.
    ByTracer,
}

/// What the task did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// So many dispatches.
    Dispatches(u32),
    /// A handler of another signal ran and returned.
    Handler,
}

/// The task's parent when it was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    Plain,
    /// Armed, after a dispatch.
    Armed,
    /// Single-stepped by its tracer over the birth.
    Stepped,
    /// Stopped by its tracer at both ends of the birth.
    Traced,
}

/// Who else looks at the task's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Nobody,
    /// The tracepoints of all calls.
    Tracepoints,
    /// Audit.
    Audit,
    /// A tracer that asks for all calls and gives back all signals.
    Tracer,
    /// A tracer that writes back at each stop all that it can read.
    Rewriter,
}

/// The filter that the task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    None,
    /// One that allows everything.
    Allow,
    /// One that traps the watched call.
    Trap,
}

/// A program that plays the scenes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) raise: Raise,
    pub(crate) entry: Entry,
    /// The registers are those of a call by this instruction.
    pub(crate) call: Entry,
    pub(crate) task: Task,
    pub(crate) armed: Armed,
    pub(crate) before: Before,
    pub(crate) parent: Parent,
    pub(crate) watched: Watched,
    pub(crate) filter: Filter,
    /// Plays every scene, and not only those in which most can go wrong.
    pub(crate) every_scene: bool,
}

/// A dispatch without anything special.
pub(crate) const PLAIN: Setting = Setting {
    raise: Raise::Dispatch,
    entry: Entry::Native,
    call: Entry::Native,
    task: Task::Leader,
    armed: Armed::Once,
    before: Before::Nothing,
    parent: Parent::Plain,
    watched: Watched::Nobody,
    filter: Filter::None,
    every_scene: false,
};

/// Bytes of each of the two stacks.
pub(crate) const STACK: usize = PAGE + 1024;

/// What there is of an alternate stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alternate {
    /// None.
    None,
    /// One that the handler does not ask for.
    Unasked,
    /// One that the handler asks for.
    Asked,
    /// One that disarms itself.
    Disarming,
    /// The call is made on it.
    Entered,
    /// The call is made on one that disarms itself.
    EnteredDisarming,
    /// One that the handler asks for and nobody can write to.
    Unwritable,
}

/// A scene: how the program stands when it makes the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) alternate: Alternate,
    /// Flags beside the fixed ones.
    pub(crate) flags: u64,
    /// `SA_*` of the handler, and what it blocks.
    pub(crate) action: i32,
    pub(crate) blocks: u64,
    /// What is blocked at the call, and whether the signals of it are pending.
    pub(crate) blocked: u64,
    pub(crate) pending: bool,
    /// Bytes by which the stack pointer is off.
    pub(crate) skew: u64,
    /// The floating point state is the initial one.
    pub(crate) initial: bool,
    /// It is played in every setting.
    pub(crate) always: bool,
}

const SCENE: Scene = Scene {
    name: "plain",
    alternate: Alternate::None,
    flags: 0,
    action: libc::SA_SIGINFO,
    blocks: 0,
    blocked: 0,
    pending: false,
    skew: 0,
    initial: false,
    always: false,
};

/// Every scene.
pub(crate) const SCENES: &[Scene] = &[
    SCENE,
    Scene { name: "flags", flags: WATCH_FLAGS, always: true, ..SCENE },
    Scene { name: "trap-flag", flags: TRAP_FLAG, ..SCENE },
    Scene { name: "initial-state", initial: true, ..SCENE },
    Scene { name: "skewed-stack", skew: 5, ..SCENE },
    Scene { name: "alternate-unasked", alternate: Alternate::Unasked, ..SCENE },
    Scene {
        name: "alternate",
        alternate: Alternate::Asked,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..SCENE
    },
    Scene {
        name: "alternate-disarming",
        alternate: Alternate::Disarming,
        always: true,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        flags: TRAP_FLAG,
        ..SCENE
    },
    Scene {
        name: "alternate-entered",
        alternate: Alternate::Entered,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..SCENE
    },
    Scene {
        name: "alternate-entered-disarming",
        alternate: Alternate::EnteredDisarming,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        ..SCENE
    },
    Scene {
        name: "alternate-unwritable",
        alternate: Alternate::Unwritable,
        action: libc::SA_SIGINFO | libc::SA_ONSTACK,
        flags: WATCH_FLAGS,
        ..SCENE
    },
    Scene { name: "no-siginfo", action: 0, ..SCENE },
    Scene { name: "nodefer", action: libc::SA_SIGINFO | libc::SA_NODEFER, ..SCENE },
    Scene {
        name: "resethand-restart",
        action: libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_RESTART,
        ..SCENE
    },
    Scene {
        name: "masks",
        // SIGUSR1, SIGALRM, the last real-time signal; SIGUSR2 and a real-time signal.
        blocked: 1 << 9 | 1 << 13 | 1 << 63,
        blocks: 1 << 11 | 1 << 39,
        pending: true,
        always: true,
        ..SCENE
    },
];
