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
        if let Operation::Call { reissues: true, .. } = &step.operation {
            replace(with_call(step, |reissues, _| *reissues = false));
        }
        if let Operation::Call { is_in_section: true, .. } = &step.operation {
            replace(with_call(step, |_, is_in_section| *is_in_section = false));
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

/// The step with other flags of its call: whether it is issued again, and whether it is in a section.
fn with_call(step: &Step, change: impl FnOnce(&mut bool, &mut bool)) -> Step {
    let mut step = step.clone();
    if let Operation::Call { reissues, is_in_section, .. } = &mut step.operation {
        change(reissues, is_in_section);
    }
    step
}
