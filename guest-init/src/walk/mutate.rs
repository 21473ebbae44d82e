// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Changes a sequence into a similar one.

use super::Platform;
use super::generate::{self, Generator, Position};
use super::operations::{MAX_STEPS, Operation, Step, count, renumber};

/// Maximum number of steps that follow the steps that a changed sequence keeps.
const MAX_NEW_STEPS: usize = 8;

/// The sequence of these seeds: the first determines a sequence, and each further one changes it.
#[must_use]
pub fn sequence(seeds: &[u64], platform: Platform) -> Vec<Step> {
    let [first, changes @ ..] = seeds else { return Vec::new() };
    let first = generate::sequence(*first, platform);
    changes.iter().fold(first, |steps, seed| changed(steps, *seed, platform))
}

/// The sequence after one change, which the seed determines.
fn changed(mut steps: Vec<Step>, seed: u64, platform: Platform) -> Vec<Step> {
    let steps_left = MAX_STEPS.saturating_sub(count(&steps));
    let mut generator = Generator::new(seed, platform, steps_left);
    generator.change(&mut steps, Position::OUTERMOST);
    renumber(&mut steps, 1);
    steps
}

impl Generator {
    /// Changes these steps or the steps within one of them: other steps follow a random number of them, or
    /// a random step is new.
    fn change(&mut self, steps: &mut Vec<Step>, position: Position) {
        let at = self.below(steps.len() + 1);
        if let Some(step) = steps.get_mut(at)
            && self.happens(50)
            && let Some(within) = position_within(step, position)
            && let Some(body) = step.body_mut()
        {
            return self.change(body, within);
        }
        // A sequence of the maximum length has no place for one more step.
        let is_full = self.is_full();
        let at = if is_full { at.min(steps.len().saturating_sub(1)) } else { at };
        match self.below(3) {
            0 => {
                self.remove(steps, at..steps.len());
                for _ in 0..1 + self.below(MAX_NEW_STEPS) {
                    self.push(steps, |generator| generator.operation(position));
                }
            }
            choice => {
                if (choice == 1 || is_full) && at < steps.len() {
                    self.remove(steps, at..at + 1);
                }
                let rest = steps.split_off(at);
                self.push(steps, |generator| generator.operation(position));
                steps.extend(rest);
            }
        }
    }

    /// Removes steps, in whose place new ones may come.
    fn remove(&mut self, steps: &mut Vec<Step>, range: std::ops::Range<usize>) {
        let removed: Vec<Step> = steps.drain(range).collect();
        self.allow_more_steps(count(&removed));
    }
}

/// The place of the steps within a step. `None` if it has no steps, or if only some operations are allowed there.
fn position_within(step: &Step, position: Position) -> Option<Position> {
    if step.body().is_empty() {
        return None;
    }
    match &step.operation {
        Operation::StartTask(new_task, _) => Some(position.in_task(*new_task)),
        Operation::SideBySide(_) => None,
        _ => Some(position.in_handler()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::NewTask;
    use super::*;

    const ALL: Platform = Platform::ALL;

    #[test]
    fn one_seed_is_the_sequence_of_the_generator() {
        assert_eq!(sequence(&[7], ALL), generate::sequence(7, ALL));
    }

    #[test]
    fn a_change_keeps_most_of_a_sequence_and_its_length_is_limited() {
        let (mut changed_sequences, mut with_same_start) = (0, 0);
        for seed in 0..400 {
            let before = sequence(&[seed % 20], ALL);
            let after = sequence(&[seed % 20, seed], ALL);
            assert_eq!(after, sequence(&[seed % 20, seed], ALL), "the seeds alone count");
            assert!(count(&after) <= MAX_STEPS, "{} steps", count(&after));
            changed_sequences += usize::from(after != before);
            with_same_start += usize::from(after.first() == before.first());
        }
        assert!(changed_sequences > 300, "{changed_sequences} of 400 differ");
        assert!(with_same_start > 200, "{with_same_start} of 400 begin as before");
    }

    #[test]
    fn new_steps_are_of_those_that_are_allowed_in_their_place() {
        fn check(steps: &[Step], position: Position, id: [u64; 3]) {
            for step in steps {
                match &step.operation {
                    Operation::SetByTracer(_) => assert!(position.is_tracee, "{id:?}"),
                    Operation::SideBySide(_) => assert!(!position.shares_memory, "{id:?}"),
                    Operation::StartTask(NewTask::Traced { .. }, _) => {
                        assert!(position.depth < 3, "{id:?}");
                    }
                    _ => {}
                }
                if let Some(within) = position_within(step, position) {
                    check(step.body(), within, id);
                }
            }
        }
        for seed in 0..1000 {
            let id = [seed, seed + 1, seed + 2];
            check(&sequence(&id, ALL), Position::OUTERMOST, id);
        }
    }

    #[test]
    fn an_id_has_all_seeds() {
        let id = super::super::changed_id("walk/3", 9);
        assert_eq!(super::super::by_id(&id).map(|case| case.id), Some("walk/3+9"));
        assert!(super::super::by_id("walk/3+").is_none());
    }
}
