//! What differs between a kernel and the one before it.

use super::{Cell, Matrix};
use crate::{Outcome, Verdict};

/// What differs between two neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Place of the one in the plan.
    pub from: usize,
    /// Place of the one after it.
    pub to: usize,
    /// What changed, by outcomes; empty if nothing did.
    pub changes: Vec<Change>,
}

/// Cases whose outcome changed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In the one; `None` if it has no such case.
    pub was: Option<Outcome>,
    /// In the other.
    pub is: Option<Outcome>,
    /// Ids of the cases.
    pub cases: Vec<String>,
}

/// Compares each cell that was judged with the one judged before it, if they differ in one thing
/// only: the kernel, or the architecture, or the flavour.
#[must_use]
pub fn differences(matrix: &Matrix) -> Vec<Difference> {
    let judged: Vec<(usize, &Verdict)> = matrix.judged().collect();
    let pairs = judged.windows(2).filter(|pair| {
        let [one, other] = [pair[0].0, pair[1].0].map(|place| &matrix.plan.cells[place]);
        apart(one, other) == 1
    });
    pairs
        .map(|pair| Difference {
            from: pair[0].0,
            to: pair[1].0,
            changes: changes(pair[0].1, pair[1].1),
        })
        .collect()
}

fn apart(one: &Cell, other: &Cell) -> usize {
    let Cell { kernel, arch, flavour } = one;
    [*kernel != other.kernel, *arch != other.arch, *flavour != other.flavour]
        .into_iter()
        .filter(|differs| *differs)
        .count()
}

fn changes(one: &Verdict, other: &Verdict) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let outcome = |verdict: &Verdict, id: &str| {
        verdict.cases.iter().find(|case| case.id == id).map(|case| case.outcome)
    };
    let only_there = other.cases.iter().filter(|case| outcome(one, &case.id).is_none());
    for case in one.cases.iter().chain(only_there) {
        let (was, is) = (outcome(one, &case.id), outcome(other, &case.id));
        if was == is {
            continue;
        }
        match changes.iter_mut().find(|change| (change.was, change.is) == (was, is)) {
            Some(change) => change.cases.push(case.id.clone()),
            None => changes.push(Change { was, is, cases: vec![case.id.clone()] }),
        }
    }
    changes
}
