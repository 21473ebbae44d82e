// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The grid: all that the kernel's code branches on when a call is issued, as dimensions with
//! states, products of them, and a model that predicts what each point shows.
//!
//! [`dimension`], [`cover`] and [`model`] do nothing but think. A point is the case `grid/at-CODE`,
//! in no table.

pub mod cover;
pub mod dimension;
mod execute;
mod ground;
pub mod model;
mod products;
mod report;
mod surroundings;
mod trace;

#[cfg(test)]
mod tests;

use crate::case::{Case, Check, Only, Run, outside_core};
use crate::probe;
use dimension::Point;
use ground::Offers;
pub use products::Product;
use sudbox_protocol::Arch;

/// What the ids of points begin with; the code follows.
const POINT: &str = "grid/at-";
/// What the ids of random products begin with; the seed follows.
const RANDOM: &str = "grid/random-";

const DISPATCH: &str = "syscall_user_dispatch()";

const fn product(id: &'static str, promise: &'static str, run: fn() -> Check) -> Case {
    outside_core(id, promise, DISPATCH, run).only(ONLY)
}

const ONLY: Only = Only {
    archs: &[Arch::X86_64],
    reason: "the model of the grid was compared with kernels of x86-64 only",
};

/// The products that are part of every run of all cases.
pub(crate) const CASES: &[Case] = &[
    product("grid/range", "every mode with every range, to the byte, is refused or obeyed", || {
        check(Product::Range)
    }),
    product(
        "grid/selector",
        "every value of the selector does the same whatever becomes of SIGSYS",
        || check(Product::Selector),
    ),
    product(
        "grid/dispatched",
        "a dispatched call keeps its promises in every pair of states of two dimensions",
        || check(Product::Dispatched),
    ),
];

/// Larger products, which are run if they are named.
pub const MORE: &[Case] = &[
    product(
        "grid/pairs",
        "dispatch keeps its promises in every pair of states of two dimensions",
        || check(Product::Pairs),
    ),
    product(
        "grid/killed",
        "a call that kills by its selector does so in every pair of states of two dimensions",
        || check(Product::Killed),
    ),
    product(
        "grid/passed",
        "a call that passes does what it does unarmed, in every pair of states of two dimensions",
        || check(Product::Passed),
    ),
    product(
        "grid/dispatched-triples",
        "a dispatched call keeps its promises in every triple of states of three dimensions",
        || check(Product::AllDispatched),
    ),
    product(
        "grid/killed-triples",
        "a call that kills by its selector does so in every triple of states of three dimensions",
        || check(Product::AllKilled),
    ),
    product(
        "grid/passed-all",
        "a call that passes does what it does unarmed, traced and observed in each way",
        || check(Product::AllPassed),
    ),
    product(
        "grid/triples",
        "dispatch keeps its promises in every triple of states of three dimensions",
        || check(Product::Triples),
    ),
];

/// The case of this id, if it is a point or product that is in no table. It is never freed.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Case> {
    if let Some(case) = MORE.iter().find(|case| case.id == id) {
        return Some(case);
    }
    let (promise, run) = if let Some(code) = id.strip_prefix(POINT) {
        ("a point of the grid shows what the model predicts", Run::Point(Point::parse(code)?))
    } else {
        let seed = id.strip_prefix(RANDOM)?.parse().ok()?;
        ("random points of the grid show what the model predicts", Run::Random(seed))
    };
    let id: &'static str = Box::leak(id.to_owned().into_boxed_str());
    Some(Box::leak(Box::new(Case { promise, run, ..product(id, "", || Ok(())) })))
}

/// Tries all points of a product.
///
/// # Errors
/// What differs from the predictions, of the first points.
pub(crate) fn check(product: Product) -> Check {
    let machine = probe::machine();
    // SAFETY: touches no memory.
    let root = unsafe { crate::sys::call(libc::SYS_geteuid, &[]) } == Ok(0);
    let offers = Offers::of(&machine.features, root, machine.vm);
    execute::prepare(offers)?;
    let layout = &execute::ground().layout;
    let points = product.points(layout);
    let mut report = report::Report::new(layout);
    let mut surroundings = surroundings::Surroundings::default();
    let mut rest = points.as_slice();
    while let Some(first) = rest.first() {
        let mut batch = 0;
        for point in rest.iter().take(64) {
            if batch > 0 && !execute::companions(first, point) {
                break;
            }
            batch += 1;
            let due = model::predict(point, layout, model::Bugs::default());
            if due.is_none_or(|due| model::is_last(point, &due)) {
                break;
            }
        }
        let outcome = execute::execute(&rest[..batch], &mut surroundings)?;
        let tried = outcome.points.len();
        report.add(&rest[..tried], &outcome);
        rest = &rest[tried..];
    }
    report.finish(points.len())
}
