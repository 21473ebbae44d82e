// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of comparisons.

use super::comparison::*;
use super::death::{ALL_DEATHS, Death};
use super::scenario::{Arming, Cause, Filter, History, Monitor, PLAIN, Parent, Scenario, Task};
use crate::arch::{CallInstruction, FrameFormat};
use crate::case::{Need, OnlyArchs};
use sudbox_protocol::Feature;

/// All comparisons.
pub(super) const COMPARISONS: &[Comparison] = &[
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        scenarios: trap_and_dispatch(THOROUGH_DISPATCH),
        ..comparison_by_program(
            "compare/trap",
            "a dispatch leaves the same state as a filter's trap at the same instruction",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [THOROUGH_QUEUED, THOROUGH_DISPATCH],
        ..comparison_by_program(
            "compare/queued",
            "a dispatch leaves the same state as a queued SIGSYS with the same siginfo",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [
            THOROUGH_QUEUED,
            Scenario {
                cause: Cause::QueuedOtherSignal,
                arming: Arming::Never,
                ..THOROUGH_DISPATCH
            },
        ],
        ..comparison_by_program(
            "compare/other-signal",
            "a queued SIGSYS leaves the same state as another signal with the same siginfo",
            "get_sigframe()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, ALLOWED],
        ..comparison_by_program(
            "compare/allowed",
            "a call that the selector allows leaves the same state as in a task that is not armed",
            "syscall_user_dispatch()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, DISARMED],
        ..comparison_by_program(
            "compare/disarmed",
            "a call in a task that has disarmed leaves the same state as in a task that never armed",
            SET_DISPATCH_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, ALLOWED],
        ..comparison_by_tracer(
            "compare/allowed-stops",
            "a tracer observes the same stops for an allowed call as in a task that is not armed",
            "syscall_trace_enter()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, DISARMED],
        ..comparison_by_tracer(
            "compare/disarmed-stops",
            "a tracer observes the same stops of a task that has disarmed as of a task that never armed",
            SET_DISPATCH_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        scenarios: [
            Scenario {
                filter: Filter::TrapWatchedCall,
                cause: Cause::SeccompTrap,
                arming: Arming::Never,
                ..PLAIN
            },
            Scenario { filter: Filter::TrapWatchedCall, cause: Cause::SeccompTrap, ..PLAIN },
        ],
        ..comparison_by_tracer(
            "compare/allowed-trap-stops",
            "a tracer observes the same stops for a filter's trap of an allowed call as in a task that \
             is not armed",
            "__seccomp_filter()",
            PLAIN,
        )
    },
    comparison_by_program(
        "compare/thousandth",
        "a dispatch after a thousand others leaves the same state as the first",
        "syscall_user_dispatch()",
        Scenario { history: History::Dispatches(1000), ..PLAIN },
    ),
    comparison_by_program(
        "compare/after-handler",
        "a dispatch after a dispatch in another signal's handler leaves the same state as the first",
        "syscall_user_dispatch_clear_on_dispatch()",
        Scenario { history: History::DispatchInHandler, ..PLAIN },
    ),
    comparison_by_program(
        "compare/thread",
        "a dispatch in another thread leaves the same state as in the first thread",
        FORCE_SIGNAL_FUNCTION,
        Scenario { task: Task::Thread, ..PLAIN },
    ),
    comparison_by_program(
        "compare/born-of-armed",
        "a dispatch in a child of an armed parent leaves the same state as in other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    Comparison {
        only: Some(X86_BREAKPOINTS_ONLY),
        ..comparison_by_program(
            "compare/born-of-stepped",
            "a dispatch in a child of a single-stepped parent leaves the same state as in other processes",
            "copy_thread()",
            Scenario { parent: Parent::Stepped, ..PLAIN },
        )
    },
    comparison_by_program(
        "compare/set-twice",
        "a dispatch leaves the same state whether the configuration was set once or twice",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::Twice, ..PLAIN },
    ),
    comparison_by_program(
        "compare/set-a-thousand-times",
        "a dispatch leaves the same state whether the task armed once or armed and disarmed a thousand times \
         before",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::Toggled, ..PLAIN },
    ),
    comparison_by_program(
        "compare/refused-between",
        "a dispatch leaves the same state whether or not the kernel has refused a configuration before",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::WithRefusedRequests, ..PLAIN },
    ),
    comparison_by_program(
        "compare/no-selector",
        "a dispatch without a selector leaves the same state as a dispatch with the selector at BLOCK",
        "syscall_user_dispatch()",
        Scenario { cause: Cause::DispatchWithoutSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::Inclusive],
        ..comparison_by_program(
            "compare/inclusive",
            "a dispatch in an inclusive range leaves the same state as outside an exclusive range",
            SET_DISPATCH_FUNCTION,
            Scenario { cause: Cause::InclusiveDispatch, ..PLAIN },
        )
    },
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_by_program(
            "compare/filtered",
            "a dispatch under a filter that allows all calls leaves the same state as without a filter",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..comparison_by_program(
            "compare/armed-by-tracer",
            "a dispatch leaves the same state whether the task or its tracer armed the task",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    comparison_by_program(
        "compare/traced",
        "a dispatch in a traced program leaves the same state as without a tracer",
        "ptrace_signal()",
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..comparison_by_program(
            "compare/namespace-init",
            "a dispatch in the init of a PID namespace leaves the same state as in other processes",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_program(
            "compare/tracepoints",
            "a dispatch with system call tracepoints enabled leaves the same state as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Audit],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_program(
            "compare/audited",
            "a dispatch with an audit rule leaves the same state as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Audit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SeccompFilter, Feature::Ia32],
        only: Some(OnlyArchs::INT80),
        scenarios: [
            Scenario {
                cause: Cause::SeccompTrap,
                filter: Filter::TrapWatchedCall,
                ..COMPAT_DISPATCH
            },
            Scenario { filter: Filter::TrapWatchedCall, ..COMPAT_DISPATCH },
        ],
        ..comparison_by_program(
            "compare/int80-trap",
            "a dispatched int 0x80 leaves the same state as a filter's trap at the same instruction",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Ia32],
        only: Some(OnlyArchs::INT80),
        ..comparison_by_program(
            "compare/int80",
            "a dispatched int 0x80 leaves the same state as a dispatched syscall instruction",
            "syscall_user_dispatch()",
            Scenario { instruction: CallInstruction::Compat, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Ia32],
        only: Some(OnlyArchs::INT80),
        scenarios: [
            DISPATCH_IN_COMPAT_CODE,
            Scenario { frames: FrameFormat::Compat, ..DISPATCH_IN_COMPAT_CODE },
        ],
        ..comparison_by_program(
            "compare/frame-32",
            "32-bit signal frames, with and without SA_SIGINFO, hold and restore the same state as 64-bit \
             signal frames",
            "ia32_setup_rt_frame(), ia32_setup_frame()",
            PLAIN,
        )
    },
    comparison_by_program(
        "compare/written-back",
        "a dispatch leaves the same state if a tracer reads all state at each stop and writes it back",
        "arch_ptrace()",
        Scenario { monitor: Monitor::RewritingTracer, ..PLAIN },
    ),
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        observer: Observer::Tracer(CONT_ONLY),
        scenarios: trap_and_dispatch(PLAIN),
        ..comparison_by_tracer(
            "compare/trap-stops",
            "a tracer observes the same stops for a dispatch as for a filter's trap",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SeccompFilter, Feature::Ia32],
        observer: Observer::Tracer(CONT_ONLY),
        scenarios: trap_and_dispatch(DISPATCH_IN_COMPAT_CODE),
        ..comparison_by_tracer(
            "compare/trap-32-stops",
            "in 32-bit code a tracer observes the same stops for a dispatch as for a filter's trap",
            "task_user_regset_view()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(CONT_ONLY),
        scenarios: [QUEUED, PLAIN],
        ..comparison_by_tracer(
            "compare/queued-stops",
            "a tracer observes the same stops for a dispatch as for a queued SIGSYS",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..comparison_by_tracer(
            "compare/hundredth-stops",
            "a tracer observes the same stops for a dispatch after a hundred others as for the first",
            "ptrace_signal()",
            Scenario { history: History::Dispatches(100), ..PLAIN },
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..comparison_by_tracer(
            "compare/thread-stops",
            "a tracer observes the same stops for a dispatch in a thread as in the first thread",
            "ptrace_signal()",
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    comparison_by_tracer(
        "compare/born-of-armed-stops",
        "a tracer observes the same stops of a child of an armed parent as of other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/born-of-stepped-stops",
        "a tracer observes the same stops of a child of a single-stepped parent as of other processes",
        "copy_thread()",
        Scenario { parent: Parent::Stepped, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/born-of-traced-stops",
        "a tracer observes the same stops of a child of a traced parent as of other processes",
        "copy_process()",
        Scenario { parent: Parent::Traced, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/no-selector-stops",
        "a tracer observes the same stops for a dispatch without a selector as for other dispatches",
        "ptrace_signal()",
        Scenario { cause: Cause::DispatchWithoutSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..comparison_by_tracer(
            "compare/armed-by-tracer-stops",
            "a tracer observes the same stops of a task whether the tracer or the task itself armed the task",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_by_tracer(
            "compare/filtered-stops",
            "a tracer observes the same stops for a dispatch with a filter as without",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..comparison_by_tracer(
            "compare/namespace-init-stops",
            "a tracer observes the same stops of the init of a PID namespace as of other processes",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_tracer(
            "compare/tracepoints-stops",
            "a tracer observes the same stops with system call tracepoints enabled as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    comparison_by_tracer(
        "compare/written-back-stops",
        "a tracer that reads all state at each stop and writes it back observes the same stops afterwards",
        "arch_ptrace()",
        Scenario { monitor: Monitor::RewritingTracer, ..PLAIN },
    ),
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        observer: Observer::Parent(&[
            Death::DefaultAction,
            Death::Ignored,
            Death::Blocked,
            Death::RepeatedInHandler,
        ]),
        scenarios: trap_and_dispatch(PLAIN),
        ..comparison_of_deaths(
            "compare/trap-death",
            "a dispatch that kills leaves the same wait status and core as a filter's trap that kills",
            FORCE_SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Parent(&[Death::DefaultAction]),
        scenarios: [QUEUED, PLAIN],
        ..comparison_of_deaths(
            "compare/queued-death",
            "a dispatch that kills leaves the same wait status and core as a queued SIGSYS",
            FORCE_SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    comparison_of_deaths(
        "compare/hundredth-death",
        "a dispatch that kills after a hundred others leaves the same wait status and core as the first",
        FORCE_SIGNAL_FUNCTION,
        Scenario { history: History::Dispatches(100), ..PLAIN },
    ),
    Comparison {
        observer: Observer::Parent(ALL_DEATHS),
        ..comparison_of_deaths(
            "compare/thread-death",
            "a dispatch that kills in another thread leaves the same wait status and core as in the first \
             thread",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    comparison_of_deaths(
        "compare/born-of-armed-death",
        "a child of an armed parent leaves the same wait status and core as other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    comparison_of_deaths(
        "compare/traced-death",
        "a process whose tracer delivers all signals leaves the same wait status and core as other processes",
        FORCE_SIGNAL_FUNCTION,
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_of_deaths(
            "compare/filtered-death",
            "a process with a filter leaves the same wait status and core as other processes",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        ..comparison_of_deaths(
            "compare/namespace-init-death",
            "the init of a PID namespace leaves the same wait status and core as other processes",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        ..comparison_of_deaths(
            "compare/tracepoints-death",
            "a process leaves the same wait status and core with system call tracepoints enabled as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
];
