// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The type of a comparison, and the scenarios and restrictions that comparisons share.

use super::death::Death;
use super::scenario::{Arming, Cause, Filter, PLAIN, Scenario};
use crate::arch::CallInstruction;
use crate::case::{Need, OnlyArchs};
use sudbox_protocol::{Arch, Feature};

/// A comparison of two scenarios that must look the same to an observer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    /// The id of the comparison's case.
    pub(super) id: &'static str,
    pub(super) promise: &'static str,
    pub(super) kernel_function: &'static str,
    pub(super) features: &'static [Feature],
    pub(super) needs: &'static [Need],
    /// The architectures that run the comparison; `None` for those of [`X86_FRAMES_ONLY`].
    pub(super) only: Option<OnlyArchs>,
    pub(super) observer: Observer,
    /// The reference scenario, and the scenario that must give the same record.
    pub(super) scenarios: [Scenario; 2],
}

/// The observer whose records are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observer {
    /// The program itself.
    Program,
    /// The program's tracer, which resumes the program by the requests with these names.
    Tracer(&'static [&'static str]),
    /// The program's parent and a reader of its core dump. The program dies for each of these reasons.
    Parent(&'static [Death]),
}

pub(super) const NEEDS_DISPATCH: &[Feature] = &[Feature::Dispatch];
pub(super) const NEEDS_DISPATCH_AND_FILTER: &[Feature] =
    &[Feature::Dispatch, Feature::SeccompFilter];
pub(super) const FORCE_SIGNAL_FUNCTION: &str = "force_sig_info_to_task()";
pub(super) const SET_DISPATCH_FUNCTION: &str = "task_set_syscall_user_dispatch()";

/// A comparison of [`PLAIN`] and this scenario, observed by the program.
pub(super) const fn comparison_by_program(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    scenario: Scenario,
) -> Comparison {
    Comparison {
        id,
        promise,
        kernel_function,
        features: NEEDS_DISPATCH,
        needs: &[],
        only: None,
        observer: Observer::Program,
        scenarios: [PLAIN, scenario],
    }
}

/// A dispatch of a 32-bit call.
pub(super) const COMPAT_DISPATCH: Scenario =
    Scenario { instruction: CallInstruction::Compat, convention: CallInstruction::Compat, ..PLAIN };

/// A dispatch of a 32-bit call in 32-bit code.
pub(super) const DISPATCH_IN_COMPAT_CODE: Scenario = Scenario {
    instruction: CallInstruction::CompatCode,
    convention: CallInstruction::CompatCode,
    ..PLAIN
};

/// A dispatch, in every variant.
pub(super) const THOROUGH_DISPATCH: Scenario = Scenario { is_thorough: true, ..PLAIN };

/// A task that is not armed executes the call, which queues a SIGSYS, in every variant.
pub(super) const THOROUGH_QUEUED: Scenario =
    Scenario { cause: Cause::QueuedSigsys, arming: Arming::Never, ..THOROUGH_DISPATCH };

/// A task that is not armed executes the call, which queues a SIGSYS.
pub(super) const QUEUED: Scenario = Scenario { is_thorough: false, ..THOROUGH_QUEUED };

/// An armed task executes the call because the selector is at ALLOW.
pub(super) const ALLOWED: Scenario = Scenario { cause: Cause::QueuedSigsys, ..PLAIN };

/// A task that has disarmed executes the call.
pub(super) const DISARMED: Scenario = Scenario { arming: Arming::Disarmed, ..ALLOWED };

/// All requests that resume a tracee.
pub(super) const ALL_RESUMES: &[&str] = &[
    "PTRACE_CONT",
    "PTRACE_SINGLESTEP",
    "PTRACE_SINGLEBLOCK",
    "PTRACE_SYSCALL",
    "PTRACE_SYSEMU",
    "PTRACE_SYSEMU_SINGLESTEP",
];
/// The requests for the comparisons that do not need all of them.
pub(super) const COMMON_RESUMES: &[&str] = &["PTRACE_CONT", "PTRACE_SINGLESTEP", "PTRACE_SYSCALL"];
/// The only request with which an executed and a dispatched call have the same stops.
pub(super) const CONT_ONLY: &[&str] = &["PTRACE_CONT"];

/// The restriction of comparisons whose `only` is `None`.
pub(super) const X86_FRAMES_ONLY: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "the allowed differences of a signal frame are described for x86-64 only",
};

/// The restriction of comparisons of a tracer's stops.
pub(super) const X86_BREAKPOINTS_ONLY: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "its gate with a breakpoint is written for x86-64 only",
};

/// Two scenarios in which the task has the same filter. In the first the task is not armed, and the filter
/// traps the watched call; in the second the call is dispatched.
pub(super) const fn trap_and_dispatch(scenario: Scenario) -> [Scenario; 2] {
    let dispatch = Scenario { filter: Filter::TrapWatchedCall, ..scenario };
    [Scenario { cause: Cause::SeccompTrap, arming: Arming::Never, ..dispatch }, dispatch]
}

/// A comparison of [`PLAIN`] and this scenario, observed by a tracer.
pub(super) const fn comparison_by_tracer(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    scenario: Scenario,
) -> Comparison {
    Comparison {
        only: Some(X86_BREAKPOINTS_ONLY),
        observer: Observer::Tracer(COMMON_RESUMES),
        ..comparison_by_program(id, promise, kernel_function, scenario)
    }
}

/// Two deaths by different paths in the kernel: by a signal without a handler (`get_signal()`), and by an
/// invalid selector (`force_exit_sig()`).
pub(super) const TWO_DEATH_PATHS: &[Death] = &[Death::DefaultAction, Death::BadSelectorValue];

/// A comparison of [`PLAIN`] and this scenario, in which the process dies, observed by its parent.
pub(super) const fn comparison_of_deaths(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    scenario: Scenario,
) -> Comparison {
    Comparison {
        observer: Observer::Parent(TWO_DEATH_PATHS),
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_program(id, promise, kernel_function, scenario)
    }
}
