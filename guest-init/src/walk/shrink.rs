// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shrinks a sequence that shows a difference to a shorter sequence that still shows one.

use super::operations::{Operation, Step, renumber};

/// Returns the shortest sequence found for which `fails` returns true. `fails` must return true for
/// `steps`. The search ends when `fails` returns false for all candidates.
pub fn shrink(steps: &[Step], mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut shortest = steps.to_vec();
    'shorter: loop {
        for mut candidate in candidates(&shortest) {
            renumber(&mut candidate, 1);
            if fails(&candidate) {
                shortest = candidate;
                continue 'shorter;
            }
        }
        return shortest;
    }
}

/// All sequences that one change makes shorter than `steps`, the largest changes first.
fn candidates(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut candidates_of_steps = Vec::new();
    // Remove chunks of steps: half of all steps, then a quarter, down to single steps.
    let mut chunk_length = steps.len();
    while chunk_length > 0 {
        let mut start = 0;
        while start < steps.len() {
            let end = (start + chunk_length).min(steps.len());
            if end - start < steps.len() {
                candidates_of_steps.push([&steps[..start], &steps[end..]].concat());
            }
            start = end;
        }
        chunk_length /= 2;
    }
    // Replace a step by the steps within it.
    for (index, step) in steps.iter().enumerate() {
        if !step.body().is_empty() {
            let candidate = [&steps[..index], step.body(), &steps[index + 1..]].concat();
            candidates_of_steps.push(candidate);
        }
    }
    // Simplify a step.
    for (index, step) in steps.iter().enumerate() {
        let mut replace = |step: Step| {
            let mut steps = steps.to_vec();
            steps[index] = step;
            candidates_of_steps.push(steps);
        };
        if let Operation::Call { reissues: true, .. } = &step.operation {
            replace(with_call_flags(step, |reissues, _| *reissues = false));
        }
        if let Operation::Call { is_in_section: true, .. } = &step.operation {
            replace(with_call_flags(step, |_, is_in_section| *is_in_section = false));
        }
        let bodies = match step.body() {
            [] => Vec::new(),
            body => std::iter::once(Vec::new()).chain(candidates(body)).collect(),
        };
        for body in bodies {
            let mut step = step.clone();
            if let Some(old_body) = step.body_mut() {
                *old_body = body;
            }
            replace(step);
        }
    }
    candidates_of_steps
}

/// A copy of the step in which `change` has changed the flags `reissues` and `is_in_section` of the call.
fn with_call_flags(step: &Step, change: impl FnOnce(&mut bool, &mut bool)) -> Step {
    let mut step = step.clone();
    if let Operation::Call { reissues, is_in_section, .. } = &mut step.operation {
        change(reissues, is_in_section);
    }
    step
}
