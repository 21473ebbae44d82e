// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of comparisons.

use super::comparison::*;
use super::death::{DEATHS, Death};
use super::scenario::{Arming, Cause, Filter, History, Monitor, PLAIN, Parent, Scenario, Task};
use crate::arch::{CallInstruction, FrameFormat};
use crate::case::{Need, OnlyArchs};
use sudbox_protocol::Feature;

/// All comparisons.
pub(super) const COMPARISONS: &[Comparison] = &[
    Comparison {
        features: FILTERED,
        scenarios: [
            Scenario { cause: Cause::Trap, filter: Filter::Trap, arming: Arming::Never, ..FULL },
            Scenario { filter: Filter::Trap, ..FULL },
        ],
        ..comparison(
            "compare/trap",
            "a dispatch leaves the same state as a filter's trap at the same instruction",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED_FULL, FULL],
        ..comparison(
            "compare/queued",
            "a dispatch leaves the same state as a queued SIGSYS with the same siginfo",
            "trigger_sigsys()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [
            QUEUED_FULL,
            Scenario { cause: Cause::QueuedOther, arming: Arming::Never, ..FULL },
        ],
        ..comparison(
            "compare/other-signal",
            "a queued SIGSYS leaves the same state as another signal with the same siginfo",
            "get_sigframe()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, ALLOWED],
        ..comparison(
            "compare/allowed",
            "a call that the selector allows leaves the same state as in a task that is not armed",
            "syscall_user_dispatch()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, DISARMED],
        ..comparison(
            "compare/disarmed",
            "a task that has disarmed sees the same as one that never armed",
            SET_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, ALLOWED],
        ..traced(
            "compare/allowed-stops",
            "a tracer sees the same stops for an allowed call as in a task that is not armed",
            "syscall_trace_enter()",
            PLAIN,
        )
    },
    Comparison {
        scenarios: [QUEUED, DISARMED],
        ..traced(
            "compare/disarmed-stops",
            "a tracer sees the same stops of a task that has disarmed as of one that never armed",
            SET_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        features: FILTERED,
        scenarios: [
            Scenario { filter: Filter::Trap, cause: Cause::Trap, arming: Arming::Never, ..PLAIN },
            Scenario { filter: Filter::Trap, cause: Cause::Trap, ..PLAIN },
        ],
        ..traced(
            "compare/allowed-trap-stops",
            "a tracer sees the same stops for a filter's trap of an allowed call as in a task that \
             is not armed",
            "__seccomp_filter()",
            PLAIN,
        )
    },
    comparison(
        "compare/thousandth",
        "a dispatch after a thousand others leaves the same state as the first",
        "syscall_user_dispatch()",
        Scenario { history: History::Dispatches(1000), ..PLAIN },
    ),
    comparison(
        "compare/after-handler",
        "a dispatch after one in another signal's handler leaves the same state as the first",
        "syscall_user_dispatch_clear_on_dispatch()",
        Scenario { history: History::Handler, ..PLAIN },
    ),
    comparison(
        "compare/thread",
        "a dispatch in a thread leaves the same state as one in the first thread",
        SIGNAL_FUNCTION,
        Scenario { task: Task::Thread, ..PLAIN },
    ),
    comparison(
        "compare/born-of-armed",
        "a child of an armed parent that arms sees the same as other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    Comparison {
        only: Some(STOPS),
        ..comparison(
            "compare/born-of-stepped",
            "a child of a single-stepped parent sees the same as other processes",
            "copy_thread()",
            Scenario { parent: Parent::Stepped, ..PLAIN },
        )
    },
    comparison(
        "compare/set-twice",
        "a configuration that is set twice acts as one that is set once",
        SET_FUNCTION,
        Scenario { arming: Arming::Twice, ..PLAIN },
    ),
    comparison(
        "compare/set-a-thousand-times",
        "arming after a thousand times of arming and disarming acts as the first arming",
        SET_FUNCTION,
        Scenario { arming: Arming::Toggled, ..PLAIN },
    ),
    comparison(
        "compare/refused-between",
        "a refused configuration changes nothing",
        SET_FUNCTION,
        Scenario { arming: Arming::Refused, ..PLAIN },
    ),
    comparison(
        "compare/no-selector",
        "a dispatch without a selector leaves the same state as one by the selector",
        "syscall_user_dispatch()",
        Scenario { cause: Cause::NoSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::Inclusive],
        ..comparison(
            "compare/inclusive",
            "a dispatch in an inclusive range leaves the same state as one outside an exclusive range",
            SET_FUNCTION,
            Scenario { cause: Cause::Inclusive, ..PLAIN },
        )
    },
    Comparison {
        features: FILTERED,
        ..comparison(
            "compare/filtered",
            "a dispatch under a filter that allows all leaves the same state as one without a filter",
            "syscall_trace_enter()",
            Scenario { filter: Filter::Allow, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..comparison(
            "compare/armed-by-tracer",
            "a task that its tracer armed sees the same as one that armed itself",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    comparison(
        "compare/traced",
        "a traced program sees the same at a dispatch as one without a tracer",
        "ptrace_signal()",
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..comparison(
            "compare/namespace-init",
            "the init of a PID namespace sees the same as other processes",
            SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..comparison(
            "compare/tracepoints",
            "a dispatch with system call tracepoints on leaves the same state as one without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Audit],
        needs: &[Need::Root, Need::Vm],
        ..comparison(
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
            Scenario { cause: Cause::Trap, filter: Filter::Trap, ..COMPAT },
            Scenario { filter: Filter::Trap, ..COMPAT },
        ],
        ..comparison(
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
        ..comparison(
            "compare/int80",
            "a dispatched int 0x80 leaves the same state as a dispatched syscall instruction",
            "syscall_user_dispatch()",
            Scenario { entry: CallInstruction::Compat, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::Ia32],
        only: Some(OnlyArchs::INT80),
        scenarios: [CODE_32, Scenario { frames: FrameFormat::Compat, ..CODE_32 }],
        ..comparison(
            "compare/frame-32",
            "32-bit signal frames, with and without SA_SIGINFO, hold and restore what 64-bit ones do",
            "ia32_setup_rt_frame(), ia32_setup_frame()",
            PLAIN,
        )
    },
    comparison(
        "compare/written-back",
        "a tracer that writes back the values it reads changes nothing",
        "arch_ptrace()",
        Scenario { monitor: Monitor::Rewriter, ..PLAIN },
    ),
    Comparison {
        features: FILTERED,
        observer: Observer::Tracer(CONT),
        scenarios: [
            Scenario { cause: Cause::Trap, filter: Filter::Trap, arming: Arming::Never, ..PLAIN },
            Scenario { filter: Filter::Trap, ..PLAIN },
        ],
        ..traced(
            "compare/trap-stops",
            "a tracer sees the same stops for a dispatch as for a filter's trap",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SeccompFilter, Feature::Ia32],
        observer: Observer::Tracer(CONT),
        scenarios: [
            Scenario { cause: Cause::Trap, filter: Filter::Trap, arming: Arming::Never, ..CODE_32 },
            Scenario { filter: Filter::Trap, ..CODE_32 },
        ],
        ..traced(
            "compare/trap-32-stops",
            "in 32-bit code a tracer sees the same stops for a dispatch as for a filter's trap",
            "task_user_regset_view()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(CONT),
        scenarios: [QUEUED, PLAIN],
        ..traced(
            "compare/queued-stops",
            "a tracer sees the same stops for a dispatch as for a queued SIGSYS",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..traced(
            "compare/hundredth-stops",
            "a tracer sees the same stops for a dispatch after a hundred others as for the first",
            "ptrace_signal()",
            Scenario { history: History::Dispatches(100), ..PLAIN },
        )
    },
    Comparison {
        observer: Observer::Tracer(ALL_RESUMES),
        ..traced(
            "compare/thread-stops",
            "a tracer sees the same stops for a dispatch in a thread as in the first thread",
            "ptrace_signal()",
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    traced(
        "compare/born-of-armed-stops",
        "a tracer sees the same stops of a child of an armed parent as of other processes",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    traced(
        "compare/born-of-stepped-stops",
        "a tracer sees the same stops of a child of a single-stepped parent as of other processes",
        "copy_thread()",
        Scenario { parent: Parent::Stepped, ..PLAIN },
    ),
    traced(
        "compare/born-of-traced-stops",
        "a tracer sees the same stops of a child of a traced parent as of other processes",
        "copy_process()",
        Scenario { parent: Parent::Traced, ..PLAIN },
    ),
    traced(
        "compare/no-selector-stops",
        "a tracer sees the same stops for a dispatch without a selector as for other dispatches",
        "ptrace_signal()",
        Scenario { cause: Cause::NoSelector, ..PLAIN },
    ),
    Comparison {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..traced(
            "compare/armed-by-tracer-stops",
            "a tracer sees the same stops of a task that it armed as of one that armed itself",
            "syscall_user_dispatch_set_config()",
            Scenario { arming: Arming::ByTracer, ..PLAIN },
        )
    },
    Comparison {
        features: FILTERED,
        ..traced(
            "compare/filtered-stops",
            "a tracer sees the same stops for a dispatch under a filter as for one without",
            "syscall_trace_enter()",
            Scenario { filter: Filter::Allow, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..traced(
            "compare/namespace-init-stops",
            "a tracer sees the same stops of the init of a PID namespace as of other processes",
            SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..traced(
            "compare/tracepoints-stops",
            "a tracer sees the same stops with system call tracepoints on as without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
    traced(
        "compare/written-back-stops",
        "a tracer that writes back the values it reads sees the same stops afterwards",
        "arch_ptrace()",
        Scenario { monitor: Monitor::Rewriter, ..PLAIN },
    ),
    Comparison {
        features: FILTERED,
        observer: Observer::Parent(&[
            Death::Default,
            Death::Ignored,
            Death::Blocked,
            Death::InHandler,
        ]),
        scenarios: [
            Scenario { cause: Cause::Trap, filter: Filter::Trap, arming: Arming::Never, ..PLAIN },
            Scenario { filter: Filter::Trap, ..PLAIN },
        ],
        ..fatal(
            "compare/trap-death",
            "a fatal dispatch leaves the same wait status and core as a filter's fatal trap",
            SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    Comparison {
        observer: Observer::Parent(&[Death::Default]),
        scenarios: [QUEUED, PLAIN],
        ..fatal(
            "compare/queued-death",
            "a fatal dispatch leaves the same wait status and core as a queued SIGSYS",
            SIGNAL_FUNCTION,
            PLAIN,
        )
    },
    fatal(
        "compare/hundredth-death",
        "a fatal dispatch after a hundred others leaves the same wait status and core as the first",
        SIGNAL_FUNCTION,
        Scenario { history: History::Dispatches(100), ..PLAIN },
    ),
    Comparison {
        observer: Observer::Parent(DEATHS),
        ..fatal(
            "compare/thread-death",
            "a fatal dispatch in a thread leaves the same wait status and core as in the first thread",
            SIGNAL_FUNCTION,
            Scenario { task: Task::Thread, ..PLAIN },
        )
    },
    fatal(
        "compare/born-of-armed-death",
        "a child of an armed parent dies as other processes do",
        "dup_task_struct()",
        Scenario { parent: Parent::Armed, ..PLAIN },
    ),
    fatal(
        "compare/traced-death",
        "a process whose tracer delivers all signals dies as other processes do",
        SIGNAL_FUNCTION,
        Scenario { monitor: Monitor::Tracer, ..PLAIN },
    ),
    Comparison {
        features: FILTERED,
        ..fatal(
            "compare/filtered-death",
            "a process under a filter dies as other processes do",
            "syscall_trace_enter()",
            Scenario { filter: Filter::Allow, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        ..fatal(
            "compare/namespace-init-death",
            "the init of a PID namespace dies as other processes do",
            SIGNAL_FUNCTION,
            Scenario { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Comparison {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        ..fatal(
            "compare/tracepoints-death",
            "a process dies with system call tracepoints on as it does without",
            "syscall_trace_enter()",
            Scenario { monitor: Monitor::Tracepoints, ..PLAIN },
        )
    },
];
