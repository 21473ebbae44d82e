// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The same thing done in two ways in one kernel, and everything compared that the program, its tracer,
//! its parent and a reader of its core can see of it. Nobody has to know beforehand what could be wrong.

mod differ;
mod may_differ;
mod perform;
mod proc;
mod program;
mod record;
mod setting;

use crate::arch::{self, Entry};
use crate::case::{Case, Check, Failure, Need, Only, Run, case};
use crate::probe;
use record::Record;
use setting::{Armed, Before, Filter, PLAIN, Parent, Raise, Setting, Task, Watched};
use sudbox_protocol::Feature;

/// Two ways to have the same: what is seen of the second is judged by the first.
#[derive(Clone, Copy, Debug)]
struct Way {
    id: &'static str,
    promise: &'static str,
    kernel_function: &'static str,
    features: &'static [Feature],
    needs: &'static [Need],
    only: Option<Only>,
    settings: [Setting; 2],
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
        settings: [PLAIN, setting],
    }
}

/// A dispatch of a 32-bit call.
const COMPAT: Setting = Setting { entry: Entry::Compat, call: Entry::Compat, ..PLAIN };

/// Every way.
const WAYS: &[Way] = &[
    Way {
        id: "compare/trap",
        promise: "a dispatch shows what a filter's trap at the same instruction shows",
        kernel_function: "trigger_sigsys()",
        features: FILTERED,
        needs: &[],
        only: None,
        settings: [
            Setting { raise: Raise::Trap, filter: Filter::Trap, ..PLAIN },
            Setting { filter: Filter::Trap, ..PLAIN },
        ],
    },
    Way {
        id: "compare/queued",
        promise: "a dispatch shows what a SIGSYS with the same information shows that was queued there",
        kernel_function: "trigger_sigsys()",
        features: DISPATCH,
        needs: &[],
        only: None,
        settings: [Setting { raise: Raise::Queue, ..PLAIN }, PLAIN],
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
            only: way.only,
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
        program::observe(record, setting)?;
    }
    differ::compare(way.id, &expected, &seen)
}
