// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Generates the sequence of operations of a seed.

use super::Platform;
use super::operations::{
    Arguments, Call, CallSite, Disposition, NewTask, Operation, Selector, Span, Step, renumber,
};

/// Maximum number of steps of a sequence.
const MAX_STEPS: usize = 40;

/// Maximum number of levels of nested handlers and tasks.
const MAX_DEPTH: usize = 3;

/// The sequence of this seed, for a kernel with these operations.
#[must_use]
pub fn sequence(seed: u64, platform: Platform) -> Vec<Step> {
    let mut generator = Generator { state: seed, platform, steps_left: MAX_STEPS };
    let mut steps = generator.body(0, false, 6, 14);
    renumber(&mut steps, 1);
    steps
}

struct Generator {
    state: u64,
    platform: Platform,
    steps_left: usize,
}

impl Generator {
    /// SplitMix64 (Steele, Lea, Flood 2014): adjacent seeds give unrelated sequences.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    /// True with a probability of this many percent.
    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A list of steps for a task; `traced` says whether the task is a tracee.
    fn body(&mut self, depth: usize, traced: bool, least: usize, most: usize) -> Vec<Step> {
        let length = least + self.below(most - least + 1);
        let mut steps = Vec::new();
        // A new task is not armed, so most steps would have no effect: arm first.
        if self.happens(60) {
            let span = self.pick(&[Span::Inside, Span::BeforeFirst, Span::ThroughFirst]);
            let selector = Selector::Byte(self.below(2));
            let call = Call::Prctl(Arguments { mode: 1, span, selector });
            self.push(&mut steps, |_| plain(CallSite::Inside, call));
        }
        for _ in 0..length {
            self.push(&mut steps, |generator| generator.operation(depth, traced));
        }
        steps
    }

    fn push(&mut self, steps: &mut Vec<Step>, make: impl FnOnce(&mut Self) -> Operation) {
        if let Some(steps_left) = self.steps_left.checked_sub(1) {
            self.steps_left = steps_left;
            let operation = make(self);
            steps.push(Step { number: 0, operation });
        }
    }

    fn operation(&mut self, depth: usize, traced: bool) -> Operation {
        let deeper = depth < MAX_DEPTH;
        match self.below(100) {
            0..28 => {
                let value = match self.below(100) {
                    0..50 => 1,
                    50..95 => 0,
                    _ => self.pick(&[2, 3, 0x7f, 0x80, 0xfe, 0xff]),
                };
                Operation::Flip { byte: self.below(2), value }
            }
            28..32 => Operation::Handle(self.pick(&[
                Disposition::Handler,
                Disposition::Handler,
                Disposition::NoDefer,
                Disposition::NoDefer,
                Disposition::NoDefer,
                Disposition::ResetHand,
                Disposition::Default,
                Disposition::Ignored,
            ])),
            32..35 => Operation::Block(self.happens(35)),
            35..41 if deeper => Operation::Signal(self.body(depth + 1, traced, 1, 4)),
            41..58 if deeper => {
                let new_task = self.new_task();
                let traced = matches!(new_task, NewTask::Traced { .. });
                Operation::StartTask(new_task, self.body(depth + 1, traced, 2, 6))
            }
            58..76 if traced => Operation::Set(self.arguments()),
            _ => self.call(depth, traced),
        }
    }

    fn new_task(&mut self) -> NewTask {
        match self.below(10) {
            0..2 => NewTask::Fork,
            2..4 => NewTask::Vfork,
            4..6 => NewTask::Thread,
            _ if !self.platform.ptrace_config => NewTask::Fork,
            6..9 => NewTask::Traced { calls: false },
            _ => NewTask::Traced { calls: true },
        }
    }

    fn call(&mut self, depth: usize, traced: bool) -> Operation {
        let mut site = self.pick(&[
            CallSite::Inside,
            CallSite::Inside,
            CallSite::First,
            CallSite::First,
            CallSite::First,
            CallSite::First,
            CallSite::Second,
            CallSite::Second,
            CallSite::Second,
            CallSite::Compat,
        ]);
        if site == CallSite::Compat && !self.platform.ia32 {
            site = CallSite::First;
        }
        let value = u16::try_from(self.below(0o1000)).unwrap_or(0);
        let call = match self.below(100) {
            _ if site == CallSite::Compat => Call::Umask(value),
            0..50 => Call::Umask(value),
            50..60 => Call::FarUmask(value),
            60..66 => Call::Unused,
            66..72 => Call::MinusOne,
            _ => Call::Prctl(self.arguments()),
        };
        let mut handler = Vec::new();
        if site != CallSite::Inside && depth < MAX_DEPTH && self.happens(35) {
            handler = self.body(depth + 1, traced, 1, 3);
        }
        let again = site != CallSite::Inside && self.happens(25);
        Operation::Call { site, call, handler, again }
    }

    fn arguments(&mut self) -> Arguments {
        let mode = match self.below(100) {
            0..50 => 1,
            50..80 => 2,
            80..96 => 0,
            _ => 3,
        };
        let span = match mode {
            0 if self.happens(70) => {
                return Arguments { mode, span: Span::Nothing, selector: Selector::Null };
            }
            1 => self.pick(&Span::FOR_EXCLUSIVE),
            _ => self.pick(&Span::FOR_INCLUSIVE),
        };
        let selector = match self.below(100) {
            0..78 => Selector::Byte(self.below(2)),
            78..90 => Selector::Null,
            90..97 => Selector::Kernel,
            _ => Selector::Unmapped,
        };
        Arguments { mode, span, selector }
    }
}

fn plain(site: CallSite, call: Call) -> Operation {
    Operation::Call { site, call, handler: Vec::new(), again: false }
}
