// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares each kernel of a matrix with the one before it.

use super::{Cell, Matrix};
use crate::{Outcome, Verdict};

/// The differences between two neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellDifference {
    /// Index of the first cell in the plan.
    pub first_index: usize,
    /// Index of the second cell in the plan.
    pub second_index: usize,
    /// The changed cases, grouped by outcomes; empty if there are none.
    pub changes: Vec<OutcomeChange>,
}

/// Cases whose outcome changed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    /// Outcome in the first cell; `None` if it has no such case.
    pub before: Option<Outcome>,
    /// Outcome in the second cell; `None` if it has no such case.
    pub after: Option<Outcome>,
    /// Ids of the cases.
    pub cases: Vec<String>,
}

/// Compares each judged cell with the judged one before it, if the two differ only in the kernel, only in
/// the architecture or only in the flavour.
#[must_use]
pub fn differences(matrix: &Matrix) -> Vec<CellDifference> {
    let judged: Vec<(usize, &Verdict)> = matrix.judged_verdicts().collect();
    let pairs = judged.windows(2).filter(|pair| {
        let [first, second] = [pair[0].0, pair[1].0].map(|index| &matrix.plan.cells[index]);
        count_differing_parts(first, second) == 1
    });
    pairs
        .map(|pair| CellDifference {
            first_index: pair[0].0,
            second_index: pair[1].0,
            changes: outcome_changes(pair[0].1, pair[1].1),
        })
        .collect()
}

/// Number of the parts (kernel, architecture, flavour) in which two cells differ.
fn count_differing_parts(first: &Cell, second: &Cell) -> usize {
    let Cell { kernel, arch, flavour } = first;
    [*kernel != second.kernel, *arch != second.arch, *flavour != second.flavour]
        .into_iter()
        .filter(|differs| *differs)
        .count()
}

fn outcome_changes(first: &Verdict, second: &Verdict) -> Vec<OutcomeChange> {
    let mut changes: Vec<OutcomeChange> = Vec::new();
    let outcome = |verdict: &Verdict, id: &str| {
        verdict.cases.iter().find(|case| case.id == id).map(|case| case.outcome)
    };
    let only_in_second = second.cases.iter().filter(|case| outcome(first, &case.id).is_none());
    for case in first.cases.iter().chain(only_in_second) {
        let (before, after) = (outcome(first, &case.id), outcome(second, &case.id));
        if before == after {
            continue;
        }
        match changes.iter_mut().find(|change| (change.before, change.after) == (before, after)) {
            Some(change) => change.cases.push(case.id.clone()),
            None => changes.push(OutcomeChange { before, after, cases: vec![case.id.clone()] }),
        }
    }
    changes
}
