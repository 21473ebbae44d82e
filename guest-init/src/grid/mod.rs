// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The grid. A dimension is a property of a call on which the kernel's code branches; the states of the
//! dimension are the values of the property. A point has one state of each dimension, a product is a set
//! of points, and a model predicts the observations of each point.
//!
//! [`dimension`], [`cover`] and [`model`] make no system calls. Each point is a case `grid/at-CODE` that
//! is in no table.

pub mod call;
pub mod cover;
pub mod dimension;
mod execute;
mod memory;
pub mod model;
pub mod observation;
mod products;
mod report;
mod run_point;
mod shared_state;
mod system_state;
mod trace;

#[cfg(test)]
mod tests;

use crate::case::{Case, Check, OnlyArchs, Run, case_not_in_core};
use crate::support::broken;
use crate::{probe, recording};
use dimension::{Disposition, Point};
use memory::Platform;
pub use products::Product;
use sudbox_protocol::Arch;

/// The beginning of the ids of points; the point's code follows.
const POINT_PREFIX: &str = "grid/at-";
/// The beginning of the ids of random products; the seed follows.
const RANDOM_PREFIX: &str = "grid/random-";

const DISPATCH_FUNCTION: &str = "syscall_user_dispatch()";

/// A case that runs a product.
const fn product_case(id: &'static str, promise: &'static str, run: fn() -> Check) -> Case {
    case_not_in_core(id, promise, DISPATCH_FUNCTION, run).only(X86_64_ONLY)
}

const X86_64_ONLY: OnlyArchs = OnlyArchs {
    archs: &[Arch::X86_64],
    reason: "the model of the grid was compared with kernels of x86-64 only",
};

/// The products that are part of every run of all cases.
pub(crate) const CASES: &[Case] = &[
    product_case(
        "grid/range",
        "every mode with every range is obeyed to the byte, or refused",
        || check(Product::Range),
    ),
    product_case(
        "grid/selector",
        "every value of the selector acts the same with every disposition of SIGSYS",
        || check(Product::Selector),
    ),
    product_case(
        "grid/deaths",
        "a fatal call kills in every kind of task, with every tracer",
        || check(Product::Deaths),
    ),
    product_case(
        "grid/dispatched",
        "a dispatched call keeps its promises in every pair of states of two dimensions",
        || check(Product::Dispatched),
    ),
];

/// Larger products, which run only if they are named.
pub const LARGER_PRODUCTS: &[Case] = &[
    product_case(
        "grid/pairs",
        "dispatch keeps its promises in every pair of states of two dimensions",
        || check(Product::Pairs),
    ),
    product_case(
        "grid/killed",
        "a call that kills by its selector does so in every pair of states of two dimensions",
        || check(Product::Killed),
    ),
    product_case(
        "grid/passed",
        "a call that passes acts as in an unarmed task, in every pair of states of two dimensions",
        || check(Product::Passed),
    ),
    product_case(
        "grid/dispatched-triples",
        "a dispatched call keeps its promises in every triple of states of three dimensions",
        || check(Product::DispatchedTriples),
    ),
    product_case(
        "grid/killed-triples",
        "a call that kills by its selector does so in every triple of states of three dimensions",
        || check(Product::KilledTriples),
    ),
    product_case(
        "grid/passed-all",
        "a call that passes acts as in an unarmed task, with every tracer and monitor",
        || check(Product::PassedWithExpensive),
    ),
    product_case(
        "grid/triples",
        "dispatch keeps its promises in every triple of states of three dimensions",
        || check(Product::Triples),
    ),
];

/// The case with this id, if the id is that of a larger product, a point or a random product. The case
/// is never freed.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Case> {
    if let Some(case) = LARGER_PRODUCTS.iter().find(|case| case.id == id) {
        return Some(case);
    }
    let (promise, run) = if let Some(code) = id.strip_prefix(POINT_PREFIX) {
        ("a point of the grid acts as the model predicts", Run::Point(Point::parse(code)?))
    } else {
        let seed = id.strip_prefix(RANDOM_PREFIX)?.parse().ok()?;
        ("random points of the grid act as the model predicts", Run::Random(seed))
    };
    let id: &'static str = Box::leak(id.to_owned().into_boxed_str());
    Some(Box::leak(Box::new(Case { promise, run, ..product_case(id, "", || Ok(())) })))
}

/// Runs all points of a product and compares their observations with the predictions.
///
/// # Errors
/// The first difference.
pub(crate) fn check(product: Product) -> Check {
    let environment = probe::environment();
    // SAFETY: touches no memory.
    let is_root = unsafe { crate::sys::call(libc::SYS_geteuid, &[]) } == Ok(0);
    let platform = Platform::with_features(&environment.features, is_root, environment.is_vm);
    shared_state::prepare(platform, run_point::handler_addresses())?;
    run_point::set_disposition(Disposition::Handler).map_err(broken("rt_sigaction"))?;
    let layout = &shared_state::memory().layout;
    // If the observations are recorded, the points are the same on every kernel.
    let points = match recording::is_recording() {
        true => product.points(&layout.with_later_interfaces()),
        false => product.points(layout),
    };
    let mut report = report::Report::new(layout, recording::is_recording());
    let mut system_state = system_state::SystemState::default();
    let mut remaining = points.as_slice();
    while !remaining.is_empty() {
        let batch = &remaining[..batch_length(remaining, layout)];
        let result = execute::execute(batch, &mut system_state)?;
        let (executed, not_executed) = remaining.split_at(result.points.len());
        report.add(executed, &result);
        if recording::is_recording() {
            record(&report, executed, &result)?;
        }
        remaining = not_executed;
    }
    report.finish(points.len())
}

/// Records the observations of points that ran in one task. The observations of the task's control
/// calls belong to no single point, so they are judged but not recorded. The digest leaves all observations
/// out: a verdict has fewer points than a recording, and the model already judges each point.
fn record(report: &report::Report<'_>, points: &[Point], result: &execute::TaskResult) -> Check {
    for (point, observations) in points.iter().zip(&result.points) {
        let scenario = format!("at-{}", point.code());
        let text = report.describe_all(observations, point);
        recording::add_text_without_digest(&scenario, "observations", DISPATCH_FUNCTION, &text)?;
    }
    Ok(())
}

/// The number of points at the start of this list that one task can run: all points up to the first that
/// the model expects to end the task, and which can share a task with the first.
fn batch_length(points: &[Point], layout: &memory::Layout) -> usize {
    let mut length = 0;
    for point in points.iter().take(shared_state::MAX_POINTS) {
        if length > 0 && !execute::can_share_task(&points[0], point) {
            break;
        }
        length += 1;
        let predicted = model::predict(point, layout, model::Bugs::default());
        if predicted.is_none_or(|predicted| model::is_last(point, &predicted)) {
            break;
        }
    }
    length
}
