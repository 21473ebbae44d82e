// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares what was seen with what is predicted, and tells differences in words.

use super::POINT;
use super::dimension::{Entry, Parent, Point, Task};
use super::execute::Outcome;
use super::ground::Layout;
use super::model::{Bugs, Frame, Sight, Told, predict};
use crate::arch::{self, AUDIT_ARCH, Reg};
use crate::case::Check;
use crate::support::{log, mismatch};
use crate::sys;
use std::collections::BTreeMap;

/// So many points that differ are told in full.
const TOLD: usize = 8;

/// Recorded bugs with what they change.
const KNOWN: &[(&str, Bugs)] = &[
    ("restart-number", Bugs { restart_number: true, phantom_exit: false }),
    ("phantom-exit-stop", Bugs { restart_number: false, phantom_exit: true }),
    ("restart-number, phantom-exit-stop", Bugs { restart_number: true, phantom_exit: true }),
];

/// What differs so far.
pub(super) struct Report<'a> {
    layout: &'a Layout,
    wrong: usize,
    first: Option<(String, String)>,
    /// How many points show a recorded bug.
    known: BTreeMap<&'static str, usize>,
}

impl<'a> Report<'a> {
    pub(super) fn new(layout: &'a Layout) -> Report<'a> {
        Report { layout, wrong: 0, first: None, known: BTreeMap::new() }
    }

    /// Adds points that were tried in one task.
    pub(super) fn add(&mut self, points: &[Point], outcome: &Outcome) {
        let mut bugs = Bugs::default();
        for (point, seen) in points.iter().zip(&outcome.points) {
            bugs = Bugs::default();
            let due = predict(point, self.layout, Bugs::default()).unwrap_or_default();
            let Some(at) = difference(&due, seen) else { continue };
            let bug = KNOWN.iter().find(|(_, bugs)| {
                predict(point, self.layout, *bugs)
                    .is_some_and(|due| difference(&due, seen).is_none())
            });
            match bug {
                Some((id, shown)) => {
                    bugs = *shown;
                    *self.known.entry(id).or_default() += 1;
                }
                None => self.differs(point, due.get(at), seen.get(at), &due, seen),
            }
        }
        if let Some(last) = points.last() {
            let due = beside(last, self.layout, bugs);
            if let Some(at) = difference(&due, &outcome.aside) {
                self.differs(last, due.get(at), outcome.aside.get(at), &due, &outcome.aside);
            }
        }
    }

    fn differs(
        &mut self,
        point: &Point,
        due: Option<&Sight>,
        got: Option<&Sight>,
        all_due: &[Sight],
        all_got: &[Sight],
    ) {
        self.wrong += 1;
        if self.wrong > TOLD {
            return;
        }
        let tell = |sight: Option<&Sight>| {
            sight.map_or("nothing more".to_owned(), |sight| self.tell(sight, point))
        };
        let (expected, seen) = (tell(due), tell(got));
        let all = |sights: &[Sight]| {
            sights.iter().map(|sight| self.tell(sight, point)).collect::<Vec<_>>().join("; ")
        };
        log(format!("{POINT}{}: {point}", point.code()));
        log(format!("  expected: {}", all(all_due)));
        log(format!("  seen:     {}", all(all_got)));
        if self.first.is_none() {
            let id = format!("{POINT}{}", point.code());
            self.first = Some((format!("{expected} ({id}: {point})"), seen));
        }
    }

    /// The end of a product of so many points.
    pub(super) fn finish(self, points: usize) -> Check {
        for (bug, count) in &self.known {
            log(format!("{count} of {points} points show the recorded bug {bug}"));
        }
        let Some((expected, got)) = self.first else { return Ok(()) };
        log(format!("{} of {points} points differ", self.wrong));
        Err(mismatch(expected, format!("{got} ({} of {points} points differ)", self.wrong)))
    }

    fn place(&self, address: u64, point: &Point) -> String {
        let ip = self.layout.entry(point.entry()).map(|gate| gate.after());
        let next = self.layout.next_gate(point.entry()).after();
        match address {
            _ if Some(address) == ip => "ip".to_owned(),
            _ if Some(address + arch::CALL_LENGTH) == ip => "the call under test".to_owned(),
            _ if address == next => "behind the next call".to_owned(),
            _ if address == self.layout.inside.start => "inside".to_owned(),
            _ if self.layout.handlers.map(arch::entered_at).contains(&address) => {
                "the handler".to_owned()
            }
            _ => format!("{address:#x}"),
        }
    }

    fn tell(&self, sight: &Sight, point: &Point) -> String {
        let told = |told: &Told| {
            let Told { code, errno, number, arch, at } = told;
            let arch =
                if *arch == AUDIT_ARCH { String::new() } else { format!(", arch {arch:#x}") };
            let at = self.place(*at, point);
            format!("code {code}, errno {errno}, number {number}{arch}, from {at}")
        };
        let kept = |kept: bool| if kept { "" } else { ", other registers changed" };
        let error = |errno: i32| match errno {
            0 => "accepted".to_owned(),
            errno => sys::Errno(errno).to_string(),
        };
        match sight {
            Sight::Set(errno) => format!("prctl: {}", error(*errno)),
            Sight::SetByTracer(errno) => format!("the tracer's setting: {}", error(*errno)),
            Sight::Handled(None) => "SIGSYS handled".to_owned(),
            Sight::Handled(Some(frame)) => {
                let Frame { told: info, on_stack, result, next, kept: same, mask } = frame;
                let stack = if *on_stack { ", on the alternate stack" } else { "" };
                format!(
                    "SIGSYS handled: {}{stack}, {:?} {result:#x}, next instruction {}, mask {mask:#x}{}",
                    told(info),
                    Reg::RESULT,
                    self.place(*next, point),
                    kept(*same)
                )
            }
            Sight::Behind { result, kept: same, executed } => format!(
                "the call {}, result {}{}",
                if *executed { "took effect" } else { "had no effect" },
                result.map_or("any".to_owned(), |result| result.cast_signed().to_string()),
                kept(*same)
            ),
            Sight::Next { executed: true } => "the next call took effect".to_owned(),
            Sight::Next { executed: false } => "the next call had no effect".to_owned(),
            Sight::Signalled(signal) => format!("{} handled", sys::signal_name(*signal)),
            Sight::Stopped { signal, told: info, next, result } => format!(
                "the tracer sees {} at {}{}{}",
                sys::signal_name(*signal),
                self.place(*next, point),
                info.map_or(String::new(), |info| format!(": {}", told(&info))),
                result.map_or(String::new(), |result| format!(", {:?} {result:#x}", Reg::RESULT))
            ),
            Sight::Entered { number, at } => format!(
                "the tracer sees the entry of {} from {}",
                number.cast_signed(),
                self.place(*at, point)
            ),
            Sight::Left { at, result } => format!(
                "the tracer sees an exit to {} with {}",
                self.place(*at, point),
                result.map_or("any result".to_owned(), |result| result.cast_signed().to_string())
            ),
            Sight::Event(event) => format!("the tracer sees event {event}"),
            Sight::Killed(signal) => format!("killed by {}", sys::signal_name(*signal)),
            Sight::Exited(code) => format!("exited with {code}"),
            Sight::ThreadGone => "the thread is gone, its process lives".to_owned(),
            Sight::Process(status) => format!("the thread's process ends with {status}"),
            Sight::Trouble(errno) => format!("trouble: {}", sys::Errno(*errno)),
        }
    }
}

/// What must be seen of the first call of the task in which this was the last point, which is not
/// dispatched whatever its parent is armed with, and of its parent's last.
fn beside(point: &Point, layout: &Layout, bugs: Bugs) -> Vec<Sight> {
    let mut due = vec![Sight::Behind { result: None, kept: true, executed: true }];
    if point.task() == Task::Thread {
        let last = predict(point, layout, bugs).and_then(|due| due.last().copied());
        // The first thread goes with its process.
        if matches!(last, Some(Sight::Killed(_) | Sight::Exited(_) | Sight::Process(1..))) {
            return due;
        }
    }
    let number = libc::SYS_getresuid.cast_unsigned();
    if point.parent() == Parent::Armed {
        let at = layout.next_gate(Entry::First).after();
        let told = Told {
            code: 2,
            errno: 0,
            number: i32::try_from(number).unwrap_or(0),
            arch: AUDIT_ARCH,
            at,
        };
        let [a, b, c] = layout.effect;
        let registers = arch::Registers::call(number, [a, b, c, 0, 0, 0]);
        let result = registers[Reg::RESULT];
        due.push(Sight::Handled(Some(Frame {
            told,
            on_stack: false,
            result,
            next: at,
            kept: true,
            mask: 0,
        })));
        due.push(Sight::Behind { result: Some(result), kept: true, executed: false });
    } else {
        due.push(Sight::Behind { result: Some(0), kept: true, executed: true });
    }
    due
}

/// The index of the first difference.
fn difference(due: &[Sight], seen: &[Sight]) -> Option<usize> {
    (0..due.len().max(seen.len())).find(
        |at| !matches!((due.get(*at), seen.get(*at)), (Some(due), Some(seen)) if due.allows(seen)),
    )
}
