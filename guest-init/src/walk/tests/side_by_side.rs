// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The orders of events of threads side by side that the model allows.

use super::*;

/// Observed events, from pairs of a step's number and an event.
fn observed(events: &[(u16, EventKind)]) -> Vec<Event> {
    events.iter().map(|(step, kind)| Event { step: *step, kind: *kind }).collect()
}

/// Whether the model allows these steps to cause these events.
fn allows(steps: &[Step], events: &[(u16, EventKind)]) -> bool {
    let events = observed(events);
    let release = crate::probe::environment().release;
    let expected = predict_matching(steps, &program_layout(), ALL, Some((&events, release)));
    first_difference(&expected, &events).is_none()
}

/// One step that executes these lists of steps side by side. Its number is 1.
fn side_by_side(lanes: Vec<Vec<Step>>) -> Vec<Step> {
    let thread = |steps| step(Operation::StartTask(NewTask::Thread, steps));
    let mut steps = vec![step(Operation::SideBySide(lanes.into_iter().map(thread).collect()))];
    renumber(&mut steps, 1);
    steps
}

const END: [(u16, EventKind); 2] = [(0, EventKind::FinalUmask(0o22)), (0, EventKind::Exited(0))];

fn umask(value: u16) -> Step {
    call(CallSite::FirstGate, Call::Umask(value))
}

#[test]
fn effects_may_have_any_order_but_must_have_one() {
    let steps = side_by_side(vec![vec![umask(1)], vec![umask(2)]]);
    let allows_results = |first, second| {
        allows(&steps, &[&[(3, returned(first)), (5, returned(second))][..], &END[..]].concat())
    };
    assert!(allows_results(0o22, 1) && allows_results(2, 0o22));
    assert!(!allows_results(0o22, 0o22) && !allows_results(2, 1));
}

#[test]
fn a_flip_by_another_thread_dispatches_or_comes_too_late() {
    let steps = side_by_side(vec![
        vec![arm(1, NamedRange::Inside, A), umask(1)],
        vec![set_selector(1)],
        vec![umask(3)],
    ]);
    let armed = (3, returned(0));
    let other = (8, returned(0o22));
    let passes = [armed, (4, returned(3)), other];
    let dispatches = [armed, (4, dispatched(0x3002)), (4, returned(95)), other];
    assert!(allows(&steps, &[&passes[..], &END].concat()));
    assert!(allows(&steps, &[&dispatches[..], &END].concat()));
    let without_flip =
        side_by_side(vec![vec![arm(1, NamedRange::Inside, A), umask(1)], vec![umask(3)]]);
    let dispatches = [armed, (4, dispatched(0x3002)), (4, returned(95)), (6, returned(0o22))];
    assert!(!allows(&without_flip, &[&dispatches[..], &END].concat()));
}

#[test]
fn the_last_events_of_a_killed_process_may_be_missing() {
    let steps = side_by_side(vec![
        vec![arm(1, NamedRange::Inside, A), set_selector(2), umask(1)],
        vec![umask(2), umask(3)],
    ]);
    let allows_death = |events: &[(u16, EventKind)], signal| {
        allows(&steps, &[events, &[(0, EventKind::Killed(signal))]].concat())
    };
    let (armed, first, second) = ((3, returned(0)), (7, returned(0o22)), (8, returned(2)));
    assert!(allows_death(&[armed], libc::SIGSYS));
    assert!(allows_death(&[armed, first, second], libc::SIGSYS));
    assert!(allows_death(&[first, armed], libc::SIGSYS));
    assert!(!allows_death(&[armed, second], libc::SIGSYS), "`first` is missing before `second`");
    assert!(!allows_death(&[armed, first], libc::SIGSEGV));
    assert!(!allows(&steps, &[&[armed, first, second], &END[..]].concat()));
}

#[test]
fn a_filter_for_all_threads_reaches_the_others_and_the_starter() {
    let filter = Filter { site: CallSite::FirstGate, action: FilterAction::Errno(7) };
    let install = step(Operation::InstallFilter { filter, for_all_threads: true });
    let mut steps = side_by_side(vec![vec![install], vec![umask(1), umask(2)]]);
    steps.push(umask(3));
    renumber(&mut steps, 1);
    let installed = (3, returned(0));
    let allows_results = |first, second, after| {
        let calls = [installed, (5, returned(first)), (6, returned(second)), (7, returned(after))];
        allows(&steps, &[&calls[..], &END].concat())
    };
    assert!(allows_results(-7, -7, -7));
    assert!(allows_results(0o22, -7, -7) && allows_results(0o22, 1, -7));
    assert!(!allows_results(-7, 0o22, -7), "a filter stays");
    assert!(!allows_results(-7, -7, 0o22), "the starter of the threads has the filter too");
}

#[test]
fn threads_without_observed_events_run_in_turn() {
    let steps = side_by_side(vec![vec![umask(1)], vec![umask(2)]]);
    let events = predicted(steps, ALL);
    assert_eq!(events[..2], [returned(0o22), returned(1)]);
}
