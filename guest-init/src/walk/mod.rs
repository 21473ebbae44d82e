// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Random walks: a seed determines a sequence of operations on dispatch, and a model predicts every observable
//! event of the sequence. A difference between predicted and observed events is a broken promise.
//!
//! The sequence of a seed is the case `walk/SEED`; `walk/SEED+CHANGE+CHANGE` is that sequence after changes,
//! each determined by a seed of its own. These cases are in no table; the host may plan any number of them.
//! `execute` and the modules of tasks, tracers, sections and coverage make system calls; [`operations`],
//! [`generate`], [`mutate`], [`model`] and [`shrink`] make none.

mod call_model;
mod coverage;
pub mod event;
mod event_log;
mod execute;
pub mod generate;
mod listing;
pub mod model;
pub mod mutate;
pub mod operations;
mod program_layout;
mod registers;
mod section;
pub mod shrink;
mod side_by_side;
mod task;
mod tasks;
mod threads;
mod trace;

use crate::case::{Case, Check, Failure, OnlyArchs, Run};
use crate::probe;
use crate::support::{broken, log, mismatch};
use coverage::Coverage;
pub use coverage::reached_code;
use event::Event;
use operations::{Call, CallSite, Operation, Step};
use std::time::Duration;
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

/// The prefix of the ids of walks. The seeds follow.
const PREFIX: &str = "walk/";

/// The character between the seeds.
pub const SEPARATOR: char = '+';

/// Time limit for shrinking a sequence that differs.
const SHRINK_TIMEOUT: Duration = Duration::from_secs(6);

/// The optional operations that the kernel supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// `PR_SYS_DISPATCH_INCLUSIVE_ON`
    pub has_inclusive_mode: bool,
    /// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`
    pub has_ptrace_config: bool,
    /// `int 0x80`
    pub has_ia32: bool,
    /// Seccomp filters.
    pub has_filters: bool,
    /// Critical sections of rseq(2).
    pub has_sections: bool,
}

impl Platform {
    /// A kernel with all optional operations.
    #[cfg(test)]
    const ALL: Platform = Platform {
        has_inclusive_mode: true,
        has_ptrace_config: true,
        has_ia32: true,
        has_filters: true,
        has_sections: true,
    };

    /// The optional operations of a kernel with these features.
    #[must_use]
    pub fn with_features(features: &[Feature]) -> Platform {
        Platform {
            has_inclusive_mode: features.contains(&Feature::Inclusive),
            has_ptrace_config: features.contains(&Feature::PtraceConfig),
            has_ia32: features.contains(&Feature::Ia32),
            has_filters: features.contains(&Feature::SeccompFilter),
            has_sections: features.contains(&Feature::Rseq),
        }
    }
}

/// The walk of this seed, as a case that is never freed.
#[must_use]
pub fn case(seed: u64) -> &'static Case {
    case_with_seeds(vec![seed])
}

/// The walk of these seeds.
fn case_with_seeds(seeds: Vec<u64>) -> &'static Case {
    let id = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(&SEPARATOR.to_string());
    Box::leak(Box::new(Case {
        id: Box::leak(format!("{PREFIX}{id}").into_boxed_str()),
        promise: "a random sequence of operations acts as the model of dispatch predicts",
        kernel_function: "syscall_user_dispatch()",
        features: &[Feature::Dispatch],
        needs: &[],
        known_bugs: &[],
        only: Some(OnlyArchs {
            archs: &[Arch::X86_64, Arch::Aarch64],
            reason: "the model of random walks assumes call numbers of 32 bits",
        }),
        checks_absence: false,
        is_in_core: false,
        run: Run::Walk(Box::leak(seeds.into_boxed_slice())),
    }))
}

/// The walk with this id, or `None` if the id is not that of a walk.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Case> {
    let seeds = id.strip_prefix(PREFIX)?.split(SEPARATOR).map(str::parse);
    seeds.collect::<Result<_, _>>().ok().map(case_with_seeds)
}

/// The id of the walk whose sequence is that of the walk `id` after the change that this seed determines.
#[must_use]
pub fn changed_id(id: &str, seed: u64) -> String {
    format!("{id}{SEPARATOR}{seed}")
}

/// The sequence of these seeds as text, for a kernel with these features.
#[must_use]
pub fn text(seeds: &[u64], features: &[Feature]) -> String {
    listing::listing(&mutate::sequence(seeds, Platform::with_features(features)))
}

/// A difference between predicted and observed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The predicted event, if any.
    pub expected: Option<Event>,
    /// The observed event, if any.
    pub observed: Option<Event>,
}

/// The first difference between predicted and observed events, on a kernel of this machine's release.
#[must_use]
pub fn first_difference(expected: &[Event], observed: &[Event]) -> Option<Difference> {
    let release = crate::probe::environment().release;
    (0..expected.len().max(observed.len())).find_map(|index| {
        let (expected, observed) = (expected.get(index).copied(), observed.get(index).copied());
        let agree = matches!((expected, observed), (Some(e), Some(o)) if e.allows(&o, release));
        (!agree).then_some(Difference { expected, observed })
    })
}

/// Prepares the probed gate, the program files and the critical section if the steps use them. Returns the
/// platform with the operations that can be tested.
fn prepare(steps: &[Step], platform: Platform) -> Result<Platform, Failure> {
    let any_call = |matches: &dyn Fn(CallSite, Call, bool) -> bool| {
        any_step(steps, &|step| match step.operation {
            Operation::Call { site, call, is_in_section, .. } => matches(site, call, is_in_section),
            _ => false,
        })
    };
    if any_call(&|site, _, _| site == CallSite::GateWithUprobe) {
        program_layout::prepare_gate_with_uprobe()?;
    }
    if any_call(&|_, call, _| matches!(call, Call::Exec(_))) {
        program_layout::prepare_programs()?;
    }
    let has_sections = platform.has_sections
        && any_call(&|_, _, is_in_section| is_in_section)
        && section::prepare();
    Ok(Platform { has_sections, ..platform })
}

/// Whether `holds` is true for one of these steps, or for a step within one.
fn any_step(steps: &[Step], holds: &dyn Fn(&Step) -> bool) -> bool {
    steps.iter().any(|step| holds(step) || any_step(step.body(), holds))
}

/// Executes the sequence of these seeds and compares the observed events with the predicted ones.
///
/// # Errors
/// The difference that the shortest failing sequence shows. That sequence is logged.
pub(crate) fn check(seeds: &[u64]) -> Check {
    let platform = Platform::with_features(&probe::environment().features);
    let steps = mutate::sequence(seeds, platform);
    event_log::map_event_log().map_err(broken("shared memory"))?;
    let platform = prepare(&steps, platform)?;
    let layout = program_layout::program_layout();
    let release = probe::environment().release;
    let run_and_compare = |steps: &[Step]| -> Result<Option<Difference>, Failure> {
        let observed = execute::execute(steps)?;
        let expected =
            model::predict_matching(steps, &layout, platform, Some((&observed, release)));
        Ok(first_difference(&expected, &observed))
    };
    let coverage = Coverage::start(&steps)?;
    let difference = run_and_compare(&steps)?;
    let recorded = coverage.map_or(Ok(()), Coverage::finish);
    let Some(mut difference) = difference else { return recorded };
    let deadline = crate::sys::now() + SHRINK_TIMEOUT;
    let shortest = shrink::shrink(&steps, |candidate| {
        if crate::sys::now() >= deadline {
            return false;
        }
        match run_and_compare(candidate) {
            Ok(Some(candidate_difference)) => {
                difference = candidate_difference;
                true
            }
            _ => false,
        }
    });
    let (shown, all) = (operations::count(&shortest), operations::count(&steps));
    log(format!("{shown} of {all} steps show it:"));
    log(listing::listing(&shortest));
    let describe = |event: Option<Event>| match event {
        Some(Event { step: 0, kind }) => format!("at the end, {}", kind.describe(&layout)),
        Some(Event { step, kind }) => format!("in step {step}, {}", kind.describe(&layout)),
        None => "nothing more".to_owned(),
    };
    Err(mismatch(describe(difference.expected), describe(difference.observed)))
}

#[cfg(test)]
mod tests;
