// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares observations with predictions and describes the differences in words.

use super::POINT_PREFIX;
use super::dimension::{Arming, GateChoice, Mode, Parent, Point, Task};
use super::execute::TaskResult;
use super::memory::Layout;
use super::model::{Bugs, predict};
use super::observation::{Frame, Observation, Siginfo};
use crate::arch::{self, AUDIT_ARCH, Reg};
use crate::case::Check;
use crate::support::{log, mismatch};
use crate::sys;
use std::collections::BTreeMap;

/// Maximum number of differing points that are reported in full.
const MAX_REPORTED: usize = 8;

/// The combinations of recorded kernel bugs that a point may show, with their names.
const KNOWN_BUGS: &[(&str, Bugs)] = &[
    ("restart-number", Bugs { restart_number: true, phantom_exit: false }),
    ("phantom-exit-stop", Bugs { restart_number: false, phantom_exit: true }),
    ("restart-number, phantom-exit-stop", Bugs { restart_number: true, phantom_exit: true }),
];

/// The differences of a product so far.
pub(super) struct Report<'a> {
    layout: &'a Layout,
    /// The number of points whose observations differ from the prediction.
    differing_count: usize,
    /// The first difference: the expected and the actual observation in words.
    first_difference: Option<(String, String)>,
    /// For each recorded bug, the number of points that show it.
    bug_counts: BTreeMap<&'static str, usize>,
    /// Whether points that use interfaces which this kernel lacks are left out of the comparison. A recording
    /// has these points on every kernel, but the model does not predict them.
    skips_missing_interfaces: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(layout: &'a Layout, skips_missing_interfaces: bool) -> Report<'a> {
        let bug_counts = BTreeMap::new();
        Report {
            layout,
            differing_count: 0,
            first_difference: None,
            bug_counts,
            skips_missing_interfaces,
        }
    }

    /// Whether the observations of the point are compared with the prediction.
    fn is_judged(&self, point: &Point) -> bool {
        let platform = self.layout.platform;
        !self.skips_missing_interfaces
            || (platform.has_inclusive_mode || point.mode() != Mode::Inclusive)
                && (platform.has_ptrace_config || point.arming() != Arming::Tracer)
    }

    /// Compares points that ran in one task, and the task's control calls, with their predictions.
    pub(super) fn add(&mut self, points: &[Point], result: &TaskResult) {
        let mut bugs = Bugs::default();
        for (point, observed) in points.iter().zip(&result.points) {
            bugs = Bugs::default();
            if !self.is_judged(point) {
                continue;
            }
            let expected = predict(point, self.layout, Bugs::default()).unwrap_or_default();
            let Some(index) = first_difference(&expected, observed) else { continue };
            let known_bugs = KNOWN_BUGS.iter().find(|(_, bugs)| {
                predict(point, self.layout, *bugs)
                    .is_some_and(|expected| first_difference(&expected, observed).is_none())
            });
            match known_bugs {
                Some((id, bugs_of_point)) => {
                    bugs = *bugs_of_point;
                    *self.bug_counts.entry(id).or_default() += 1;
                }
                None => self.add_difference(point, index, &expected, observed),
            }
        }
        if let Some(last) = points.last().filter(|last| self.is_judged(last)) {
            let expected = predict_control(last, self.layout, bugs);
            if let Some(index) = first_difference(&expected, &result.control) {
                self.add_difference(last, index, &expected, &result.control);
            }
        }
    }

    /// Adds a point whose observation with this index differs from the prediction.
    fn add_difference(
        &mut self,
        point: &Point,
        index: usize,
        expected: &[Observation],
        observed: &[Observation],
    ) {
        self.differing_count += 1;
        if self.differing_count > MAX_REPORTED {
            return;
        }
        let describe_differing = |observations: &[Observation]| {
            let observation = observations.get(index);
            observation.map_or("nothing more".to_owned(), |one| self.describe(one, point))
        };
        let id = format!("{POINT_PREFIX}{}", point.code());
        log(format!("{id}: {point}"));
        log(format!("  expected: {}", self.describe_all(expected, point)));
        log(format!("  seen:     {}", self.describe_all(observed, point)));
        if self.first_difference.is_none() {
            let expected = format!("{} ({id}: {point})", describe_differing(expected));
            self.first_difference = Some((expected, describe_differing(observed)));
        }
    }

    /// Describes observations of a point in words.
    pub(super) fn describe_all(&self, observations: &[Observation], point: &Point) -> String {
        let described: Vec<_> = observations.iter().map(|one| self.describe(one, point)).collect();
        described.join("; ")
    }

    /// Ends the report of a product with this number of points.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn finish(self, points: usize) -> Check {
        for (bug, count) in &self.bug_counts {
            log(format!("{count} of {points} points show the recorded bug {bug}"));
        }
        let Some((expected, got)) = self.first_difference else { return Ok(()) };
        let count = self.differing_count;
        log(format!("{count} of {points} points differ"));
        Err(mismatch(expected, format!("{got} ({count} of {points} points differ)")))
    }

    /// The name of an address, such as `ip`, or its value.
    fn describe_address(&self, address: u64, point: &Point) -> String {
        let ip = self.layout.gate(point.gate()).map(|gate| gate.compared_address());
        let next = self.layout.next_gate(point.gate()).compared_address();
        match address {
            _ if Some(address) == ip => "ip".to_owned(),
            _ if Some(address + arch::CALL_LENGTH) == ip => "the call under test".to_owned(),
            _ if address == next => "after the next call".to_owned(),
            _ if address == self.layout.inside.start => "inside".to_owned(),
            _ if self.layout.handlers.map(arch::handler_entry_address).contains(&address) => {
                "the handler".to_owned()
            }
            _ => format!("{address:#x}"),
        }
    }

    /// Describes a siginfo in words.
    fn describe_siginfo(&self, info: &Siginfo, point: &Point) -> String {
        let Siginfo { code, errno, number, arch, call_address } = info;
        let arch = if *arch == AUDIT_ARCH { String::new() } else { format!(", arch {arch:#x}") };
        let address = self.describe_address(*call_address, point);
        format!("code {code}, errno {errno}, number {number}{arch}, from {address}")
    }

    /// Describes an observation of a point in words.
    fn describe(&self, observation: &Observation, point: &Point) -> String {
        let address = |address: &u64| self.describe_address(*address, point);
        let changed = |preserved: bool| if preserved { "" } else { ", other registers changed" };
        let error = |errno: i32| match errno {
            0 => "accepted".to_owned(),
            errno => sys::Errno(errno).to_string(),
        };
        match observation {
            Observation::Set(errno) => format!("prctl: {}", error(*errno)),
            Observation::SetByTracer(errno) => {
                format!("setting by the tracer: {}", error(*errno))
            }
            Observation::Handled(None) => "SIGSYS handled".to_owned(),
            Observation::Handled(Some(frame)) => {
                let Frame {
                    info,
                    on_alternate_stack,
                    result,
                    instruction_pointer,
                    preserved,
                    mask,
                } = frame;
                format!(
                    "SIGSYS handled: {}{}, {:?} {result:#x}, next instruction {}, mask {mask:#x}{}",
                    self.describe_siginfo(info, point),
                    if *on_alternate_stack { ", on the alternate stack" } else { "" },
                    Reg::RESULT,
                    address(instruction_pointer),
                    changed(*preserved)
                )
            }
            Observation::Returned { result, preserved, executed } => format!(
                "the call {}, result {}{}",
                if *executed { "took effect" } else { "had no effect" },
                result.map_or("any".to_owned(), |result| result.cast_signed().to_string()),
                changed(*preserved)
            ),
            Observation::NextCall { executed: true } => "the next call took effect".to_owned(),
            Observation::NextCall { executed: false } => "the next call had no effect".to_owned(),
            Observation::OtherSignal(signal) => format!("{} handled", sys::signal_name(*signal)),
            Observation::Stopped { signal, info, instruction_pointer, result } => format!(
                "the tracer sees {} at {}{}{}",
                sys::signal_name(*signal),
                address(instruction_pointer),
                info.map_or(String::new(), |info| {
                    format!(": {}", self.describe_siginfo(&info, point))
                }),
                result.map_or(String::new(), |result| format!(", {:?} {result:#x}", Reg::RESULT))
            ),
            Observation::CallEntry { number, instruction_pointer } => format!(
                "the tracer sees the entry of {} from {}",
                number.cast_signed(),
                address(instruction_pointer)
            ),
            Observation::CallExit { instruction_pointer, result } => format!(
                "the tracer sees an exit to {} with {}",
                address(instruction_pointer),
                result.map_or("any result".to_owned(), |result| result.cast_signed().to_string())
            ),
            Observation::Event(event) => format!("the tracer sees event {event}"),
            Observation::Killed(signal) => format!("killed by {}", sys::signal_name(*signal)),
            Observation::Exited(code) => format!("exited with {code}"),
            Observation::ThreadGone => "the thread is gone, its process lives".to_owned(),
            Observation::ProcessEnded(status) => {
                format!("the thread's process ends with {status}")
            }
            Observation::SetupFailed(errno) => {
                format!("preparation failed: {}", sys::Errno(*errno))
            }
        }
    }
}

/// Predicts the observations of the control calls of a task whose last point is `point`. The task's
/// control call must be executed, even if the parent is armed. The parent's control call must be dispatched
/// if the parent is armed.
fn predict_control(point: &Point, layout: &Layout, bugs: Bugs) -> Vec<Observation> {
    use Observation::{Exited, Killed, ProcessEnded, Returned};
    let mut expected = vec![Returned { result: None, preserved: true, executed: true }];
    if point.task() == Task::Thread {
        let observations = predict(point, layout, bugs);
        let last = observations.and_then(|observations| observations.last().copied());
        // The first thread ends with its process and makes no control call.
        if matches!(last, Some(Killed(_) | Exited(_) | ProcessEnded(1..))) {
            return expected;
        }
    }
    if point.parent() != Parent::Armed {
        expected.push(Returned { result: Some(0), preserved: true, executed: true });
        return expected;
    }
    let number = libc::SYS_getresuid.cast_unsigned();
    let compared_address = layout.next_gate(GateChoice::FirstGate).compared_address();
    let [a, b, c] = layout.id_addresses;
    let result = arch::Registers::for_call(number, [a, b, c, 0, 0, 0])[Reg::RESULT];
    let number = i32::try_from(number).unwrap_or(0);
    expected.push(Observation::Handled(Some(Frame {
        info: Siginfo {
            code: 2,
            errno: 0,
            number,
            arch: AUDIT_ARCH,
            call_address: compared_address,
        },
        on_alternate_stack: false,
        result,
        instruction_pointer: compared_address,
        preserved: true,
        mask: 0,
    })));
    expected.push(Returned { result: Some(result), preserved: true, executed: false });
    expected
}

/// The index of the first observation that differs from its prediction.
fn first_difference(expected: &[Observation], observed: &[Observation]) -> Option<usize> {
    (0..expected.len().max(observed.len())).find(|index| {
        !matches!(
            (expected.get(*index), observed.get(*index)),
            (Some(expected), Some(observed)) if expected.allows(observed)
        )
    })
}
