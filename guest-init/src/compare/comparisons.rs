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
        scenarios: trap_and_dispatch(DISPATCH_EVERY_VARIANT),
        ..comparison_by_program(
            "compare/trap",
            "a dispatch leaves the same state as a filter's trap at the same instruction",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED_EVERY_VARIANT, DISPATCH_EVERY_VARIANT],
        ..comparison_by_program(
            "compare/queued",
            "a dispatch leaves the same state as a queued SIGSYS with the same siginfo",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [
            QUEUED_EVERY_VARIANT,
            Scenario {
                cause: Cause::QueuedOtherSignal,
                arming: Arming::Never,
                ..DISPATCH_EVERY_VARIANT
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
            "a task that has disarmed sees the same as one that never armed",
            SET_DISPATCH_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, ALLOWED],
        ..comparison_by_tracer(
            "compare/allowed-stops",
            "a tracer sees the same stops for an allowed call as in a task that is not armed",
            "syscall_trace_enter()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, DISARMED],
        ..comparison_by_tracer(
            "compare/disarmed-stops",
            "a tracer sees the same stops of a task that has disarmed as of one that never armed",
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
            "a tracer sees the same stops for a filter's trap of an allowed call as in a task that \
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
        "a dispatch after one in another signal's handler leaves the same state as the first",
        "syscall_user_dispatch_clear_on_dispatch()",
        Scenario { history: History::DispatchInHandler, ..PLAIN },
    ),
    comparison_by_program(
        "compare/thread",
        "a dispatch in a thread leaves the same state as one in the first thread",
        FORCE_SIGNAL_FUNCTION,
        Scenario { task: Task::Thread, ..PLAIN },
    ),
    comparison_by_program(
        "compare/born-of-armed",
        "a child of an armed parent that arms sees the same as other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    Comparison {
        only: Some(X86_BREAKPOINTS_ONLY),
        ..comparison_by_program(
            "compare/born-of-stepped",
            "a child of a single-stepped parent sees the same as other processes",
            "copy_thread()",
            Scenario { parent: Parent::Stepped, ..PLAIN },
        )
    },
    comparison_by_program(
        "compare/set-twice",
        "a configuration that is set twice acts as one that is set once",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::Twice, ..PLAIN },
    ),
    comparison_by_program(
        "compare/set-a-thousand-times",
        "arming after a thousand times of arming and disarming acts as the first arming",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::Toggled, ..PLAIN },
    ),
    comparison_by_program(
        "compare/refused-between",
        "a refused configuration changes nothing",
        SET_DISPATCH_FUNCTION,
        Scenario { arming: Arming::Refused, ..PLAIN },
    ),
    comparison_by_program(
        "compare/no-selector",
        "a dispatch without a selector leaves the same state as one by the selector",
        "syscall_user_dispatch()",
        Scenario { cause: Cause::DispatchWithoutSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::Inclusive],
        ..comparison_by_program(
            "compare/inclusive",
            "a dispatch in an inclusive range leaves the same state as one outside an exclusive range",
            SET_DISPATCH_FUNCTION,
            Scenario { cause: Cause::InclusiveDispatch, ..PLAIN },
        )
    },
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_by_program(
            "compare/filtered",
            "a dispatch under a filter that allows all leaves the same state as one without a filter",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..comparison_by_program(
            "compare/armed-by-tracer",
            "a task that its tracer armed sees the same as one that armed itself",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    comparison_by_program(
        "compare/traced",
        "a traced program sees the same at a dispatch as one without a tracer",
        "ptrace_signal()",
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..comparison_by_program(
            "compare/namespace-init",
            "the init of a PID namespace sees the same as other processes",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_program(
            "compare/tracepoints",
            "a dispatch with system call tracepoints on leaves the same state as one without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Audit],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_program(
            "compare/audited",
            "a dispatch with an audit rule leaves the same state as one without",
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
            "a dispatched int 0x80 leaves the same state as a filter's trap at the same \
                  instruction",
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
            "32-bit signal frames, with and without SA_SIGINFO, hold and restore what 64-bit ones do",
            "ia32_setup_rt_frame(), ia32_setup_frame()",
            PLAIN,
        )
    },
    comparison_by_program(
        "compare/written-back",
        "a tracer that writes back the values it reads changes nothing",
        "arch_ptrace()",
        Scenario { monitor: Monitor::RewritingTracer, ..PLAIN },
    ),
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        observer: Observer::Tracer(CONT_ONLY),
        scenarios: trap_and_dispatch(PLAIN),
        ..comparison_by_tracer(
            "compare/trap-stops",
            "a tracer sees the same stops for a dispatch as for a filter's trap",
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
            "in 32-bit code a tracer sees the same stops for a dispatch as for a filter's trap",
            "task_user_regset_view()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(CONT_ONLY),
        scenarios: [QUEUED, PLAIN],
        ..comparison_by_tracer(
            "compare/queued-stops",
            "a tracer sees the same stops for a dispatch as for a queued SIGSYS",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..comparison_by_tracer(
            "compare/hundredth-stops",
            "a tracer sees the same stops for a dispatch after a hundred others as for the first",
            "ptrace_signal()",
            Scenario { history: History::Dispatches(100), ..PLAIN },
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..comparison_by_tracer(
            "compare/thread-stops",
            "a tracer sees the same stops for a dispatch in a thread as in the first thread",
            "ptrace_signal()",
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    comparison_by_tracer(
        "compare/born-of-armed-stops",
        "a tracer sees the same stops of a child of an armed parent as of other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/born-of-stepped-stops",
        "a tracer sees the same stops of a child of a single-stepped parent as of other processes",
        "copy_thread()",
        Scenario { parent: Parent::Stepped, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/born-of-traced-stops",
        "a tracer sees the same stops of a child of a traced parent as of other processes",
        "copy_process()",
        Scenario { parent: Parent::Traced, ..PLAIN },
    ),
    comparison_by_tracer(
        "compare/no-selector-stops",
        "a tracer sees the same stops for a dispatch without a selector as for other dispatches",
        "ptrace_signal()",
        Scenario { cause: Cause::DispatchWithoutSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..comparison_by_tracer(
            "compare/armed-by-tracer-stops",
            "a tracer sees the same stops of a task that it armed as of one that armed itself",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_by_tracer(
            "compare/filtered-stops",
            "a tracer sees the same stops for a dispatch under a filter as for one without",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..comparison_by_tracer(
            "compare/namespace-init-stops",
            "a tracer sees the same stops of the init of a PID namespace as of other processes",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..comparison_by_tracer(
            "compare/tracepoints-stops",
            "a tracer sees the same stops with system call tracepoints on as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    comparison_by_tracer(
        "compare/written-back-stops",
        "a tracer that writes back the values it reads sees the same stops afterwards",
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
            "a fatal dispatch leaves the same wait status and core as a filter's fatal trap",
            FORCE_SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Parent(&[Death::DefaultAction]),
        scenarios: [QUEUED, PLAIN],
        ..comparison_of_deaths(
            "compare/queued-death",
            "a fatal dispatch leaves the same wait status and core as a queued SIGSYS",
            FORCE_SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    comparison_of_deaths(
        "compare/hundredth-death",
        "a fatal dispatch after a hundred others leaves the same wait status and core as the first",
        FORCE_SIGNAL_FUNCTION,
        Scenario { history: History::Dispatches(100), ..PLAIN },
    ),
    Comparison {
        observer: Observer::Parent(ALL_DEATHS),
        ..comparison_of_deaths(
            "compare/thread-death",
            "a fatal dispatch in a thread leaves the same wait status and core as in the first thread",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    comparison_of_deaths(
        "compare/born-of-armed-death",
        "a child of an armed parent dies as other processes do",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    comparison_of_deaths(
        "compare/traced-death",
        "a process whose tracer delivers all signals dies as other processes do",
        FORCE_SIGNAL_FUNCTION,
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: NEEDS_DISPATCH_AND_FILTER,
        ..comparison_of_deaths(
            "compare/filtered-death",
            "a process under a filter dies as other processes do",
            "syscall_trace_enter()",
            Scenario { filter: Filter::AllowAll, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        ..comparison_of_deaths(
            "compare/namespace-init-death",
            "the init of a PID namespace dies as other processes do",
            FORCE_SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        ..comparison_of_deaths(
            "compare/tracepoints-death",
            "a process dies with system call tracepoints on as it does without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
];
