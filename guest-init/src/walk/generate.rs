// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Generates the random sequence of operations that a seed determines.

use super::Platform;
use super::operations::{
    Arguments, Call, CallSite, Disposition, Filter, FilterAction, MAX_LANES, MAX_STEPS, NamedRange,
    NewTask, Operation, Program, Selector, Step, renumber,
};
use std::ops::RangeInclusive;

/// Maximum number of levels of nested handlers and tasks.
const MAX_DEPTH: usize = 3;

/// The share of sequences with a uprobe, in percent. Setting a uprobe takes much longer than a sequence.
const PROBED_PERCENT: usize = 3;

/// The sequence of this seed, for a kernel with these optional operations.
#[must_use]
pub fn sequence(seed: u64, platform: Platform) -> Vec<Step> {
    let mut generator = Generator::new(seed, platform, MAX_STEPS);
    let mut steps = generator.body(Position::OUTERMOST, 6..=14);
    renumber(&mut steps, 1);
    steps
}

/// The context of steps in a sequence.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// The number of enclosing handlers and tasks.
    pub(super) depth: usize,
    /// Whether the steps run in a tracee.
    pub(super) is_tracee: bool,
    /// Whether the steps run in a process that shares its memory with its parent.
    pub(super) shares_memory: bool,
}

impl Position {
    /// The position of the steps that are not within others.
    pub(super) const OUTERMOST: Position =
        Position { depth: 0, is_tracee: false, shares_memory: false };

    /// The position of the steps in a handler of the same task.
    pub(super) fn in_handler(self) -> Position {
        Position { depth: self.depth + 1, ..self }
    }

    /// The position of the steps in a new task.
    pub(super) fn in_task(self, new_task: NewTask) -> Position {
        let is_tracee = matches!(new_task, NewTask::Traced { .. });
        let shares_memory = match new_task {
            NewTask::Vfork => true,
            NewTask::Thread => self.shares_memory,
            NewTask::Fork | NewTask::Traced { .. } => false,
        };
        Position { depth: self.depth + 1, is_tracee, shares_memory }
    }
}

/// A source of random operations.
pub(super) struct Generator {
    /// The state of the random number generator.
    state: u64,
    platform: Platform,
    steps_left: usize,
    /// Whether the sequence has calls from the probed gate.
    has_probe: bool,
}

impl Generator {
    /// The generator of this seed, which makes at most `steps_left` steps.
    pub(super) fn new(seed: u64, platform: Platform, steps_left: usize) -> Generator {
        let mut generator = Generator { state: seed, platform, steps_left, has_probe: false };
        generator.has_probe = generator.happens(PROBED_PERCENT);
        generator
    }

    /// Whether no step is left to make.
    pub(super) fn is_full(&self) -> bool {
        self.steps_left == 0
    }

    /// Allows this many steps more.
    pub(super) fn allow_more_steps(&mut self, count: usize) {
        self.steps_left += count;
    }

    /// The next random number, by SplitMix64 (Steele, Lea, Flood 2014): adjacent seeds give unrelated numbers.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A random number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    /// True with a probability of this many percent.
    pub(super) fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A random element of a list.
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A random list of steps, with a random one of these lengths.
    fn body(&mut self, position: Position, lengths: RangeInclusive<usize>) -> Vec<Step> {
        let (shortest, longest) = lengths.into_inner();
        let length = shortest + self.below(longest - shortest + 1);
        let mut steps = Vec::new();
        // A new task is not armed, and most steps have an effect only in an armed task, so arm it first.
        if self.happens(60) {
            let range =
                self.pick(&[NamedRange::Inside, NamedRange::BeforeFirst, NamedRange::ThroughFirst]);
            let selector = Selector::Byte(self.below(2));
            let call = Call::Prctl(Arguments { mode: 1, range, selector });
            self.push(&mut steps, |_| call_without_handler(CallSite::Inside, call));
        }
        for _ in 0..length {
            self.push(&mut steps, |generator| generator.operation(position));
        }
        steps
    }

    /// Appends an operation that `make` chooses, unless the sequence is at its maximum length.
    pub(super) fn push(
        &mut self,
        steps: &mut Vec<Step>,
        make: impl FnOnce(&mut Self) -> Operation,
    ) {
        if let Some(steps_left) = self.steps_left.checked_sub(1) {
            self.steps_left = steps_left;
            let operation = make(self);
            steps.push(Step { number: 0, operation });
        }
    }

    /// A random operation. The lengths of the ranges of numbers are the weights of the operations.
    pub(super) fn operation(&mut self, position: Position) -> Operation {
        let can_nest = position.depth < MAX_DEPTH;
        match self.below(112) {
            0..28 => {
                let value = match self.below(100) {
                    0..50 => 1,
                    50..95 => 0,
                    _ => self.pick(&[2, 3, 0x7f, 0x80, 0xfe, 0xff]),
                };
                Operation::Flip { byte: self.below(2), value }
            }
            28..32 => Operation::SetDisposition(self.pick(&[
                Disposition::Handler,
                Disposition::Handler,
                Disposition::NoDefer,
                Disposition::NoDefer,
                Disposition::NoDefer,
                Disposition::ResetHand,
                Disposition::Default,
                Disposition::Ignored,
            ])),
            32..35 => Operation::SetSigsysBlocked(self.happens(35)),
            35..41 if can_nest => Operation::RaiseSigusr1(self.body(position.in_handler(), 1..=4)),
            41..58 if can_nest => {
                let new_task = self.new_task();
                Operation::StartTask(new_task, self.body(position.in_task(new_task), 2..=6))
            }
            58..76 if position.is_tracee => Operation::SetByTracer(self.arguments()),
            100..106 if self.platform.has_filters => self.install_filter(),
            // If threads side by side kill their process, the final selector bytes depend on the order of the
            // threads. A parent that shares these bytes would be unpredictable.
            106..112 if can_nest && !position.shares_memory => self.side_by_side(),
            _ => self.call(position),
        }
    }

    /// A filter for a random site.
    fn install_filter(&mut self) -> Operation {
        let mut sites = vec![CallSite::FirstGate, CallSite::SecondGate];
        if self.platform.has_ia32 {
            sites.push(CallSite::CompatGate);
        }
        let site = self.pick(&sites);
        let data = u8::try_from(1 + self.below(100)).unwrap_or(1);
        let action = match self.below(10) {
            0 => FilterAction::Kill,
            1..5 => FilterAction::Trap(data),
            _ => FilterAction::Errno(data),
        };
        let for_all_threads = self.happens(50);
        Operation::InstallFilter { filter: Filter { site, action }, for_all_threads }
    }

    /// Threads side by side, with random steps.
    fn side_by_side(&mut self) -> Operation {
        let count = 2 + self.below(MAX_LANES - 1);
        let installer = (self.platform.has_filters && self.happens(40)).then(|| self.below(count));
        let mut lanes = Vec::new();
        for lane in 0..count {
            self.push(&mut lanes, |generator| {
                let steps = generator.lane(installer == Some(lane));
                Operation::StartTask(NewTask::Thread, steps)
            });
        }
        Operation::SideBySide(lanes)
    }

    /// The steps of one thread among threads side by side.
    fn lane(&mut self, installs_filter: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.happens(75) {
            let range =
                self.pick(&[NamedRange::Inside, NamedRange::BeforeFirst, NamedRange::ThroughFirst]);
            let selector = Selector::Byte(self.below(2));
            let call = Call::Prctl(Arguments { mode: 1, range, selector });
            self.push(&mut steps, |_| call_without_handler(CallSite::Inside, call));
        }
        let filter_at = installs_filter.then(|| self.below(3));
        for index in 0..2 + self.below(3) {
            if filter_at == Some(index) {
                self.push(&mut steps, Self::install_filter);
            }
            self.push(&mut steps, Self::operation_in_lane);
        }
        steps
    }

    fn operation_in_lane(&mut self) -> Operation {
        match self.below(100) {
            0..35 => {
                let value = match self.below(40) {
                    0 => 2,
                    value => u8::from(value % 2 == 0),
                };
                Operation::Flip { byte: self.below(2), value }
            }
            35..45 => Operation::Yield,
            45..47 => Operation::SetSigsysBlocked(true),
            _ => {
                let site = self.pick(&[
                    CallSite::Inside,
                    CallSite::FirstGate,
                    CallSite::FirstGate,
                    CallSite::SecondGate,
                ]);
                let value = u16::try_from(self.below(0o1000)).unwrap_or(0);
                let mut operation = call_without_handler(site, Call::Umask(value));
                if let Operation::Call { reissues, .. } = &mut operation {
                    *reissues = site != CallSite::Inside && self.happens(25);
                }
                operation
            }
        }
    }

    fn new_task(&mut self) -> NewTask {
        match self.below(10) {
            0..2 => NewTask::Fork,
            2..4 => NewTask::Vfork,
            4..6 => NewTask::Thread,
            _ if !self.platform.has_ptrace_config => NewTask::Fork,
            6..9 => NewTask::Traced { stops_at_calls: false, is_seized: self.happens(40) },
            _ => NewTask::Traced { stops_at_calls: true, is_seized: self.happens(40) },
        }
    }

    fn call(&mut self, position: Position) -> Operation {
        let mut site = self.pick(&[
            CallSite::Inside,
            CallSite::Inside,
            CallSite::FirstGate,
            CallSite::FirstGate,
            CallSite::FirstGate,
            CallSite::FirstGate,
            CallSite::SecondGate,
            CallSite::SecondGate,
            CallSite::SecondGate,
            CallSite::CompatGate,
        ]);
        if site == CallSite::CompatGate && !self.platform.has_ia32 {
            site = CallSite::FirstGate;
        }
        if self.has_probe && site == CallSite::FirstGate && self.happens(50) {
            site = CallSite::GateWithUprobe;
        }
        let value = u16::try_from(self.below(0o1000)).unwrap_or(0);
        let call = match self.below(100) {
            // A 32-bit call passes only the low halves of the other arguments.
            72.. if site == CallSite::CompatGate => match self.below(8) {
                0 => Call::Prctl(DISARM),
                _ => Call::Umask(value),
            },
            98.. => Call::Exec(match self.below(10) {
                0..4 => Program::Valid,
                4..7 => Program::NoFormat,
                _ => Program::UnreadableArguments,
            }),
            0..50 => Call::Umask(value),
            50..60 => Call::UmaskWithHighBit(value),
            60..66 => Call::UnusedNumber,
            66..72 => Call::MinusOne,
            _ => Call::Prctl(self.arguments()),
        };
        let mut handler = Vec::new();
        if site != CallSite::Inside && position.depth < MAX_DEPTH && self.happens(35) {
            handler = self.body(position.in_handler(), 1..=3);
        }
        let reissues = site != CallSite::Inside && self.happens(25);
        let is_in_section =
            self.platform.has_sections && site == CallSite::FirstGate && self.happens(15);
        Operation::Call { site, call, handler, reissues, is_in_section }
    }

    fn arguments(&mut self) -> Arguments {
        let mode = match self.below(100) {
            0..50 => 1,
            50..80 => 2,
            80..96 => 0,
            _ => 3,
        };
        let range = match mode {
            0 if self.happens(70) => {
                return DISARM;
            }
            1 => self.pick(&NamedRange::FOR_EXCLUSIVE),
            _ => self.pick(&NamedRange::FOR_INCLUSIVE),
        };
        let selector = match self.below(100) {
            0..78 => Selector::Byte(self.below(2)),
            78..88 => Selector::Null,
            88..94 => Selector::Kernel,
            _ => Selector::Unmapped,
        };
        Arguments { mode, range, selector }
    }
}

/// The arguments that switch dispatch off.
const DISARM: Arguments =
    Arguments { mode: 0, range: NamedRange::Nothing, selector: Selector::Null };

fn call_without_handler(site: CallSite, call: Call) -> Operation {
    let handler = Vec::new();
    Operation::Call { site, call, handler, reissues: false, is_in_section: false }
}
