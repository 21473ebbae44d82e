// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same thing done in two ways in one kernel, and everything compared that the program, its tracer,
//! its parent and a reader of its core can see of it. Nobody has to know beforehand what could be wrong.

mod core;
mod death;
mod differ;
mod may_differ;
mod perform;
mod proc;
mod program;
mod record;
mod setting;
mod tracer;

use crate::arch::{self, Entry};
use crate::case::{Case, Check, Failure, Need, Only, Run, case};
use crate::probe;
use death::{DEATHS, Death};
pub(crate) use record::Record;
use setting::{Armed, Before, Filter, PLAIN, Parent, Raise, Setting, Task, Watched};
use sudbox_protocol::{Arch, Feature};

/// Two ways to have the same: what is seen of the second is judged by the first.
#[derive(Clone, Copy, Debug)]
struct Way {
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    features: &'static [Feature],
    needs: &'static [Need],
    only: Option<Only>,
    view: View,
    settings: [Setting; 2],
}

/// The observer of a way.
#[derive(Clone, Copy, Debug)]
enum View {
    /// The program itself.
    Program,
    /// Its tracer, with these ways to resume it.
    Tracer(&'static [&'static str]),
    /// Its parent, and who reads its core, when it dies of these.
    Death(&'static [Death]),
}

const DISPATCH: &[Feature] = &[Feature::Dispatch];
const FILTERED: &[Feature] = &[Feature::Dispatch, Feature::SeccompFilter];
const SIGNAL: &str = "force_sig_info_to_task()";
const SET: &str = "task_set_syscall_user_dispatch()";

/// A way that needs nothing special, beside the plain one.
const fn way(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    setting: Setting,
) -> Way {
    Way {
        id,
        promise,
        kernel_function,
        features: DISPATCH,
        needs: &[],
        only: None,
        view: View::Program,
        settings: [PLAIN, setting],
    }
}

/// A dispatch of a 32-bit call.
const COMPAT: Setting = Setting { entry: Entry::Compat, call: Entry::Compat, ..PLAIN };

/// A dispatch in every scene.
const FULL: Setting = Setting { every_scene: true, ..PLAIN };

/// The call is executed, of a task that is not armed.
const QUEUED: Setting = Setting { raise: Raise::Queue, armed: Armed::Not, ..FULL };

/// The call is executed because the selector says ALLOW.
const ALLOWED: Setting = Setting { raise: Raise::Queue, ..PLAIN };

/// All ways to resume a tracee.
const EVERY: &[&str] = &[
    "PTRACE_CONT",
    "PTRACE_SINGLESTEP",
    "PTRACE_SINGLEBLOCK",
    "PTRACE_SYSCALL",
    "PTRACE_SYSEMU",
    "PTRACE_SYSEMU_SINGLESTEP",
];
/// Those in which most can go wrong.
const SHORT: &[&str] = &["PTRACE_CONT", "PTRACE_SINGLESTEP", "PTRACE_SYSCALL"];
/// The one that stops nowhere else at a call that is executed than at one that is not.
const SIGNALS: &[&str] = &["PTRACE_CONT"];

/// The restriction of every way.
const FRAMES: Only = Only {
    archs: &[Arch::X86_64],
    reason: "what may differ in a frame is described for x86-64 only",
};

/// The restriction of ways that watch stops.
const STOPS: Only = Only {
    archs: &[Arch::X86_64],
    reason: "its gate with a breakpoint is written for x86-64 only",
};

/// A way without special needs, as its tracer sees it.
const fn stops(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    setting: Setting,
) -> Way {
    Way {
        only: Some(STOPS),
        view: View::Tracer(SHORT),
        ..way(id, promise, kernel_function, setting)
    }
}

/// Deaths of different paths of the kernel.
const FEW: &[Death] = &[Death::Default, Death::BadValue];

/// A way without special needs that ends in the program's death.
const fn deaths(
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    setting: Setting,
) -> Way {
    Way {
        view: View::Death(FEW),
        needs: &[Need::Root, Need::Vm],
        ..way(id, promise, kernel_function, setting)
    }
}

/// Every way.
const WAYS: &[Way] = &[
    Way {
        id: "compare/trap",
        promise: "a dispatch shows what a filter's trap at the same instruction shows",
        kernel_function: "trigger_sigsys()",
        features: FILTERED,
        needs: &[],
        only: None,
        view: View::Program,
        settings: [
            Setting { raise: Raise::Trap, filter: Filter::Trap, armed: Armed::Not, ..FULL },
            Setting { filter: Filter::Trap, ..FULL },
        ],
    },
    Way {
        id: "compare/queued",
        promise: "a dispatch shows what a SIGSYS with the same information shows that was queued there",
        kernel_function: "trigger_sigsys()",
        features: DISPATCH,
        needs: &[],
        only: None,
        view: View::Program,
        settings: [QUEUED, FULL],
    },
    Way {
        settings: [Setting { every_scene: false, ..QUEUED }, ALLOWED],
        ..way(
            "compare/allowed",
            "a call that the selector allows shows what it shows of who is not armed",
            "syscall_user_dispatch()",
            PLAIN,
        )
    },
    Way {
        settings: [
            Setting { every_scene: false, ..QUEUED },
            Setting { armed: Armed::Off, ..ALLOWED },
        ],
        ..way("compare/disarmed", "who has disarmed sees what who never armed sees", SET, PLAIN)
    },
    Way {
        settings: [Setting { every_scene: false, ..QUEUED }, ALLOWED],
        ..stops(
            "compare/allowed-stops",
            "a tracer is told of a call that the selector allows what it is told of others",
            "syscall_trace_enter()",
            PLAIN,
        )
    },
    Way {
        settings: [
            Setting { every_scene: false, ..QUEUED },
            Setting { armed: Armed::Off, ..ALLOWED },
        ],
        ..stops(
            "compare/disarmed-stops",
            "a tracer is told of who has disarmed what it is told of who never armed",
            SET,
            PLAIN,
        )
    },
    Way {
        features: FILTERED,
        settings: [
            Setting { filter: Filter::Trap, raise: Raise::Trap, armed: Armed::Not, ..PLAIN },
            Setting { filter: Filter::Trap, raise: Raise::Trap, ..PLAIN },
        ],
        ..stops(
            "compare/allowed-trap-stops",
            "a filter's trap of an allowed call is told as that of who is not armed",
            "__seccomp_filter()",
            PLAIN,
        )
    },
    way(
        "compare/thousandth",
        "a dispatch after a thousand others shows what the first shows",
        "syscall_user_dispatch()",
        Setting { before: Before::Dispatches(1000), ..PLAIN },
    ),
    way(
        "compare/after-handler",
        "a dispatch after one in the handler of another signal shows what the first shows",
        "syscall_user_dispatch_clear_on_dispatch()",
        Setting { before: Before::Handler, ..PLAIN },
    ),
    way(
        "compare/thread",
        "a dispatch in a thread shows what one in the first thread shows",
        SIGNAL,
        Setting { task: Task::Thread, ..PLAIN },
    ),
    way(
        "compare/born-of-armed",
        "who was born of an armed parent and arms sees what others see",
        "dup_task_struct()",
        Setting { parent: Parent::Armed, ..PLAIN },
    ),
    Way {
        only: Some(STOPS),
        ..way(
            "compare/born-of-stepped",
            "who was born while its parent was single-stepped sees what others see",
            "copy_thread()",
            Setting { parent: Parent::Stepped, ..PLAIN },
        )
    },
    way(
        "compare/set-twice",
        "the same configuration set again shows what a fresh one shows",
        SET,
        Setting { armed: Armed::Twice, ..PLAIN },
    ),
    way(
        "compare/set-a-thousand-times",
        "who armed and disarmed a thousand times and arms sees what others see",
        SET,
        Setting { armed: Armed::Toggled, ..PLAIN },
    ),
    way(
        "compare/refused-between",
        "what is refused leaves everything as it is",
        SET,
        Setting { armed: Armed::Refused, ..PLAIN },
    ),
    way(
        "compare/no-selector",
        "a dispatch without a selector shows what one by the selector shows",
        "syscall_user_dispatch()",
        Setting { raise: Raise::Unselected, ..PLAIN },
    ),
    Way {
        features: &[Feature::Dispatch, Feature::Inclusive],
        ..way(
            "compare/inclusive",
            "a dispatch in an inclusive range shows what one outside an exclusive range shows",
            SET,
            Setting { raise: Raise::Inclusive, ..PLAIN },
        )
    },
    Way {
        features: FILTERED,
        ..way(
            "compare/filtered",
            "a dispatch under a filter that allows all shows what one without shows",
            "syscall_trace_enter()",
            Setting { filter: Filter::Allow, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..way(
            "compare/armed-by-tracer",
            "who was armed by a tracer sees what others see",
            "syscall_user_dispatch_set_config()",
            Setting { armed: Armed::ByTracer, ..PLAIN },
        )
    },
    way(
        "compare/traced",
        "a dispatch under a tracer shows the program what one without shows",
        "ptrace_signal()",
        Setting { watched: Watched::Tracer, ..PLAIN },
    ),
    Way {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..way(
            "compare/namespace-init",
            "the init of a PID namespace sees what others see",
            SIGNAL,
            Setting { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..way(
            "compare/tracepoints",
            "a dispatch while calls are traced shows what one without shows",
            "syscall_trace_enter()",
            Setting { watched: Watched::Tracepoints, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::Audit],
        needs: &[Need::Root, Need::Vm],
        ..way(
            "compare/audited",
            "a dispatch while calls are audited shows what one without shows",
            "syscall_trace_enter()",
            Setting { watched: Watched::Audit, ..PLAIN },
        )
    },
    Way {
        id: "compare/int80-trap",
        promise: "a dispatched int 0x80 shows what a filter's trap at the same instruction shows",
        kernel_function: "trigger_sigsys()",
        features: &[Feature::Dispatch, Feature::SeccompFilter, Feature::Ia32],
        needs: &[],
        only: Some(Only::INT80),
        view: View::Program,
        settings: [
            Setting { raise: Raise::Trap, filter: Filter::Trap, ..COMPAT },
            Setting { filter: Filter::Trap, ..COMPAT },
        ],
    },
    Way {
        features: &[Feature::Dispatch, Feature::Ia32],
        only: Some(Only::INT80),
        ..way(
            "compare/int80",
            "a dispatched int 0x80 shows what a dispatched syscall shows",
            "syscall_user_dispatch()",
            Setting { entry: Entry::Compat, ..PLAIN },
        )
    },
    way(
        "compare/written-back",
        "a tracer that writes back what it reads changes nothing",
        "arch_ptrace()",
        Setting { watched: Watched::Rewriter, ..PLAIN },
    ),
    Way {
        features: FILTERED,
        view: View::Tracer(SIGNALS),
        settings: [
            Setting { raise: Raise::Trap, filter: Filter::Trap, armed: Armed::Not, ..PLAIN },
            Setting { filter: Filter::Trap, ..PLAIN },
        ],
        ..stops(
            "compare/trap-stops",
            "a tracer is told of a dispatch what it is told of a filter's trap",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Way {
        view: View::Tracer(SIGNALS),
        settings: [Setting { every_scene: false, ..QUEUED }, PLAIN],
        ..stops(
            "compare/queued-stops",
            "a tracer is told of a dispatch what it is told of a SIGSYS that was queued",
            "ptrace_signal()",
            PLAIN,
        )
    },
    Way {
        view: View::Tracer(EVERY),
        ..stops(
            "compare/hundredth-stops",
            "a tracer is told of a dispatch after a hundred what it is told of the first",
            "ptrace_signal()",
            Setting { before: Before::Dispatches(100), ..PLAIN },
        )
    },
    Way {
        view: View::Tracer(EVERY),
        ..stops(
            "compare/thread-stops",
            "a tracer is told of a thread's dispatch what it is told of the first thread's",
            "ptrace_signal()",
            Setting { task: Task::Thread, ..PLAIN },
        )
    },
    stops(
        "compare/born-of-armed-stops",
        "a tracer is told of a child of an armed parent what it is told of others",
        "dup_task_struct()",
        Setting { parent: Parent::Armed, ..PLAIN },
    ),
    stops(
        "compare/born-of-stepped-stops",
        "a tracer is told of a child of a stepped parent what it is told of others",
        "copy_thread()",
        Setting { parent: Parent::Stepped, ..PLAIN },
    ),
    stops(
        "compare/born-of-traced-stops",
        "a tracer is told of a child of a traced parent what it is told of others",
        "copy_process()",
        Setting { parent: Parent::Traced, ..PLAIN },
    ),
    stops(
        "compare/no-selector-stops",
        "a tracer is told of a dispatch without a selector what it is told of others",
        "ptrace_signal()",
        Setting { raise: Raise::Unselected, ..PLAIN },
    ),
    Way {
        features: &[Feature::Dispatch, Feature::PtraceConfig],
        ..stops(
            "compare/armed-by-tracer-stops",
            "a tracer is told of who it armed what it is told of who armed by itself",
            "syscall_user_dispatch_set_config()",
            Setting { armed: Armed::ByTracer, ..PLAIN },
        )
    },
    Way {
        features: FILTERED,
        ..stops(
            "compare/filtered-stops",
            "a tracer is told of a dispatch under a filter what it is told of one without",
            "syscall_trace_enter()",
            Setting { filter: Filter::Allow, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        needs: &[Need::Root],
        ..stops(
            "compare/namespace-init-stops",
            "a tracer is told of the init of a PID namespace what it is told of others",
            SIGNAL,
            Setting { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        needs: &[Need::Root, Need::Vm],
        ..stops(
            "compare/tracepoints-stops",
            "a tracer is told the same while calls are traced",
            "syscall_trace_enter()",
            Setting { watched: Watched::Tracepoints, ..PLAIN },
        )
    },
    stops(
        "compare/written-back-stops",
        "a tracer that writes back what it reads is told the same afterwards",
        "arch_ptrace()",
        Setting { watched: Watched::Rewriter, ..PLAIN },
    ),
    Way {
        features: FILTERED,
        view: View::Death(&[Death::Default, Death::Ignored, Death::Blocked, Death::InHandler]),
        settings: [
            Setting { raise: Raise::Trap, filter: Filter::Trap, armed: Armed::Not, ..PLAIN },
            Setting { filter: Filter::Trap, ..PLAIN },
        ],
        ..deaths(
            "compare/trap-death",
            "who dies of a dispatch leaves what is left of who dies of a filter's trap",
            SIGNAL,
            PLAIN,
        )
    },
    Way {
        view: View::Death(&[Death::Default]),
        settings: [Setting { every_scene: false, ..QUEUED }, PLAIN],
        ..deaths(
            "compare/queued-death",
            "who dies of a dispatch leaves what is left of who dies of a SIGSYS that was queued",
            SIGNAL,
            PLAIN,
        )
    },
    deaths(
        "compare/hundredth-death",
        "who dies of a dispatch after a hundred leaves what is left of who dies of the first",
        SIGNAL,
        Setting { before: Before::Dispatches(100), ..PLAIN },
    ),
    Way {
        view: View::Death(DEATHS),
        ..deaths(
            "compare/thread-death",
            "a dispatch that kills a thread leaves of the process what one in its first thread leaves",
            SIGNAL,
            Setting { task: Task::Thread, ..PLAIN },
        )
    },
    deaths(
        "compare/born-of-armed-death",
        "a child of an armed parent dies as others do",
        "dup_task_struct()",
        Setting { parent: Parent::Armed, ..PLAIN },
    ),
    deaths(
        "compare/traced-death",
        "who dies under a tracer that gives all signals dies as others do",
        SIGNAL,
        Setting { watched: Watched::Tracer, ..PLAIN },
    ),
    Way {
        features: FILTERED,
        ..deaths(
            "compare/filtered-death",
            "who dies under a filter dies as others do",
            "syscall_trace_enter()",
            Setting { filter: Filter::Allow, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::PidNamespace],
        ..deaths(
            "compare/namespace-init-death",
            "the init of a PID namespace dies as others do",
            SIGNAL,
            Setting { task: Task::NamespaceInit, ..PLAIN },
        )
    },
    Way {
        features: &[Feature::Dispatch, Feature::SyscallTracepoints],
        ..deaths(
            "compare/tracepoints-death",
            "who dies while calls are traced dies as others do",
            "syscall_trace_enter()",
            Setting { watched: Watched::Tracepoints, ..PLAIN },
        )
    },
];

/// The cases, one for each way.
pub(crate) const CASES: &[Case] = &{
    let mut cases = [case("", "", "", nothing); WAYS.len()];
    let mut at = 0;
    while at < WAYS.len() {
        let way = &WAYS[at];
        cases[at] = Case {
            id: way.id,
            promise: way.promise,
            kernel_function: way.kernel_function,
            features: way.features,
            needs: way.needs,
            core: false,
            run: Run::Compare(at),
            only: match way.only {
                Some(only) => Some(only),
                None => Some(FRAMES),
            },
            ..cases[at]
        };
        at += 1;
    }
    cases
};

fn nothing() -> Check {
    Ok(())
}

/// Has both done and compares what was seen.
pub(crate) fn check(index: usize) -> Check {
    let Some(way) = WAYS.get(index) else {
        return Err(Failure::Broken(format!("there is no comparison {index}")));
    };
    if let Some(need) = probe::machine().lacks(arch::WATCH_NEEDS) {
        return Err(Failure::Unmet(need.to_string()));
    }
    perform::prepare()?;
    let [expected, seen] = [Record::new()?, Record::new()?];
    for (record, setting) in [&expected, &seen].into_iter().zip(&way.settings) {
        program::within(setting, || match way.view {
            View::Program => program::observe(record, setting),
            View::Tracer(resumes) => tracer::observe(record, setting, resumes),
            View::Death(deaths) => death::observe(record, setting, deaths),
        })?;
    }
    differ::compare(way.id, &expected, &seen)?;
    match way.view {
        View::Program => {
            let each = [&expected, &seen].into_iter().zip(&way.settings);
            each.into_iter().try_for_each(|(record, setting)| {
                differ::returned(record, setting.raise == Raise::Queue)
            })
        }
        View::Tracer(_) | View::Death(_) => Ok(()),
    }
}

/// Records all that a tracer is told of a tracee that stays stopped.
pub(crate) fn look_at_idle(record: &Record, name: &'static str, pid: i32) {
    let moment = record::Moment { scene: name, step: "idle", count: 0 };
    tracer::look(record, moment, &PLAIN, pid);
    tracer::look_in_proc(record, moment, pid);
}

/// Whether two records of an id say the same.
pub(crate) fn same(id: &str, expected: &Record, seen: &Record) -> Check {
    differ::compare(id, expected, seen)
}
