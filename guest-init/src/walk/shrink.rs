// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shrinks a sequence that shows a difference to a shorter sequence that still shows one.

use super::operations::{Operation, Step, renumber};

/// Returns the shortest sequence found for which `fails` returns true; `fails` must return true for
/// `steps`. The search ends when `fails` returns false for all candidates.
pub fn shrink(steps: &[Step], mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut best = steps.to_vec();
    'smaller: loop {
        for mut candidate in candidates(&best) {
            renumber(&mut candidate, 1);
            if fails(&candidate) {
                best = candidate;
                continue 'smaller;
            }
        }
        return best;
    }
}

/// All sequences that one change makes shorter than `steps`, the largest changes first.
fn candidates(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    let mut chunk = steps.len();
    while chunk > 0 {
        let mut start = 0;
        while start < steps.len() {
            let end = (start + chunk).min(steps.len());
            if end - start < steps.len() {
                all.push([&steps[..start], &steps[end..]].concat());
            }
            start = end;
        }
        chunk /= 2;
    }
    for (at, step) in steps.iter().enumerate() {
        // Replace the step by the steps within it.
        if !step.body().is_empty() {
            all.push([&steps[..at], step.body(), &steps[at + 1..]].concat());
        }
    }
    for (at, step) in steps.iter().enumerate() {
        let mut replace = |step: Step| {
            let mut steps = steps.to_vec();
            steps[at] = step;
            all.push(steps);
        };
        if let Operation::Call { site, call, handler, reissues: true } = &step.operation {
            let (site, call, handler) = (*site, *call, handler.clone());
            let operation = Operation::Call { site, call, handler, reissues: false };
            replace(Step { operation, ..*step });
        }
        let bodies = match step.body() {
            [] => Vec::new(),
            body => std::iter::once(Vec::new()).chain(candidates(body)).collect(),
        };
        for body in bodies {
            let mut step = step.clone();
            if let Some(site) = step.body_mut() {
                *site = body;
            }
            replace(step);
        }
    }
    all
}
