// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A random walk with an oracle: sequences of what can be done with dispatch, made from a seed,
//! and a model of it that predicts all that is seen of them. A difference is a broken promise.
//!
//! The sequence of a seed is the case `walk/SEED`, in no table: the host plans as many as it
//! likes. [`operations`], [`generate`], [`model`] and [`shrink`] do nothing but think.

mod execute;
pub mod generate;
pub mod model;
pub mod operations;
pub mod shrink;

use crate::case::{Case, Check, Failure, Only, Run};
use crate::probe;
use crate::support::{broken, log, mismatch};
use model::Event;
use operations::{Step, listing};
use std::time::Duration;
use sudbox_protocol::Arch;
use sudbox_protocol::Feature;

/// What the ids of walks begin with; the seed follows.
const PREFIX: &str = "walk/";

/// For so long a sequence that differs is tried to be made shorter.
const SHRINKING: Duration = Duration::from_secs(4);

/// What a kernel offers of what a walk may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// `PR_SYS_DISPATCH_INCLUSIVE_ON`
    pub inclusive: bool,
    /// `PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG`
    pub ptrace_config: bool,
    /// `int 0x80`
    pub ia32: bool,
}

impl Offers {
    /// From the features that probes found.
    #[must_use]
    pub fn of(features: &[Feature]) -> Offers {
        Offers {
            inclusive: features.contains(&Feature::Inclusive),
            ptrace_config: features.contains(&Feature::PtraceConfig),
            ia32: features.contains(&Feature::Ia32),
        }
    }
}

/// The walk of this seed, as a case. It is never freed.
#[must_use]
pub fn case(seed: u64) -> &'static Case {
    Box::leak(Box::new(Case {
        id: Box::leak(format!("{PREFIX}{seed}").into_boxed_str()),
        promise: "a random sequence of operations does what the model of dispatch says",
        kernel_function: "syscall_user_dispatch()",
        features: &[Feature::Dispatch],
        needs: &[],
        known_bugs: &[],
        only: Some(Only {
            archs: &[Arch::X86_64, Arch::Aarch64],
            reason: "the model of random walks takes numbers of calls to have 32 bits",
        }),
        absence: false,
        core: false,
        run: Run::Walk(seed),
    }))
}

/// The walk of this id, if it is one.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Case> {
    id.strip_prefix(PREFIX)?.parse().ok().map(case)
}

/// The sequence of this seed as text, for a kernel that offers these features.
#[must_use]
pub fn text(seed: u64, features: &[Feature]) -> String {
    listing(&generate::sequence(seed, Offers::of(features)))
}

/// Where what was seen differs from what was predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What was due, unless nothing was.
    pub due: Option<Event>,
    /// What was seen, unless nothing was.
    pub seen: Option<Event>,
}

/// The first difference.
#[must_use]
pub fn difference(due: &[Event], seen: &[Event]) -> Option<Difference> {
    (0..due.len().max(seen.len())).find_map(|at| {
        let (due, seen) = (due.get(at).copied(), seen.get(at).copied());
        let agree = matches!((due, seen), (Some(due), Some(seen)) if due.allows(&seen));
        (!agree).then_some(Difference { due, seen })
    })
}

/// Executes the sequence of this seed and compares.
///
/// # Errors
/// What differs, of the shortest sequence found that shows a difference; that sequence is logged.
pub(crate) fn check(seed: u64) -> Check {
    let offers = Offers::of(&probe::machine().features);
    let layout = execute::layout();
    execute::prepare().map_err(broken("shared memory"))?;
    let try_out = |steps: &[Step]| -> Result<Option<Difference>, Failure> {
        let seen = execute::execute(steps)?;
        Ok(difference(&model::predict(steps, &layout, offers), &seen))
    };
    let steps = generate::sequence(seed, offers);
    let Some(first) = try_out(&steps)? else { return Ok(()) };
    let until = crate::sys::now() + SHRINKING;
    let mut found = first;
    let shortest = shrink::shrink(&steps, |candidate| {
        if crate::sys::now() >= until {
            return false;
        }
        match try_out(candidate) {
            Ok(Some(difference)) => {
                found = difference;
                true
            }
            _ => false,
        }
    });
    let count = |steps: &[Step]| operations::renumber(&mut steps.to_vec(), 0);
    log(format!("{} of {} steps show it:", count(&shortest), count(&steps)));
    log(listing(&shortest));
    let tell = |event: Option<Event>| match event {
        Some(Event { step: 0, what }) => format!("at the end, {}", what.tell(&layout)),
        Some(Event { step, what }) => format!("in step {step}, {}", what.tell(&layout)),
        None => "nothing more".to_owned(),
    };
    Err(mismatch(tell(found.due), tell(found.seen)))
}

#[cfg(test)]
mod tests;
