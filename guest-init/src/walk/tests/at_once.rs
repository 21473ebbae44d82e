// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Threads side by side: which orders of events the model allows.

use super::*;

/// The observed events of a sequence: those of each step by number, in this order.
fn observed(events: &[(u16, EventKind)]) -> Vec<Event> {
    events.iter().map(|(step, kind)| Event { step: *step, kind: *kind }).collect()
}

/// Whether the model allows these events of steps.
fn allows(steps: &[Step], events: &[(u16, EventKind)]) -> bool {
    let events = observed(events);
    let release = crate::probe::machine().release;
    let expected = predict_matching(steps, &layout(), ALL, Some((&events, release)));
    first_difference(&expected, &events).is_none()
}

/// One step that executes these lists of steps side by side. Its number is 1.
fn at_once(lanes: Vec<Vec<Step>>) -> Vec<Step> {
    let thread = |steps| step(Operation::StartTask(NewTask::Thread, steps));
    let mut steps = vec![step(Operation::AtOnce(lanes.into_iter().map(thread).collect()))];
    renumber(&mut steps, 1);
    steps
}

const END: [(u16, EventKind); 2] = [(0, EventKind::FinalUmask(0o22)), (0, EventKind::Exited(0))];

fn umask(value: u16) -> Step {
    call(CallSite::FirstGate, Call::Umask(value))
}

#[test]
fn effects_may_have_any_order_but_must_have_one() {
    let steps = at_once(vec![vec![umask(1)], vec![umask(2)]]);
    let with = |first, second| {
        allows(&steps, &[&[(3, gives(first)), (5, gives(second))][..], &END[..]].concat())
    };
    assert!(with(0o22, 1) && with(2, 0o22));
    assert!(!with(0o22, 0o22) && !with(2, 1));
}

#[test]
fn a_flip_by_another_thread_dispatches_or_comes_too_late() {
    let steps = at_once(vec![
        vec![arm(1, NamedRange::Inside, A), umask(1)],
        vec![set_selector(1)],
        vec![umask(3)],
    ]);
    let armed = (3, gives(0));
    let other = (8, gives(0o22));
    let passes = [armed, (4, gives(3)), other];
    let dispatches = [armed, (4, dispatched(0x3002)), (4, gives(95)), other];
    assert!(allows(&steps, &[&passes[..], &END].concat()));
    assert!(allows(&steps, &[&dispatches[..], &END].concat()));
    let without_flip = at_once(vec![vec![arm(1, NamedRange::Inside, A), umask(1)], vec![umask(3)]]);
    let dispatches = [armed, (4, dispatched(0x3002)), (4, gives(95)), (6, gives(0o22))];
    assert!(!allows(&without_flip, &[&dispatches[..], &END].concat()));
}

#[test]
fn a_killed_process_leaves_events_away() {
    let steps = at_once(vec![
        vec![arm(1, NamedRange::Inside, A), set_selector(2), umask(1)],
        vec![umask(2), umask(3)],
    ]);
    let killed = |events: &[(u16, EventKind)], signal| {
        allows(&steps, &[events, &[(0, EventKind::Killed(signal))]].concat())
    };
    let (armed, first, second) = ((3, gives(0)), (7, gives(0o22)), (8, gives(2)));
    assert!(killed(&[armed], libc::SIGSYS));
    assert!(killed(&[armed, first, second], libc::SIGSYS));
    assert!(killed(&[first, armed], libc::SIGSYS));
    assert!(!killed(&[armed, second], libc::SIGSYS), "an event of a thread is missing");
    assert!(!killed(&[armed, first], libc::SIGSEGV));
    assert!(!allows(&steps, &[&[armed, first, second], &END[..]].concat()));
}

#[test]
fn a_filter_for_all_threads_reaches_the_others_and_the_starter() {
    let filter = Filter { site: CallSite::FirstGate, action: FilterAction::Errno(7) };
    let install = step(Operation::InstallFilter { filter, for_all_threads: true });
    let mut steps = at_once(vec![vec![install], vec![umask(1), umask(2)]]);
    steps.push(umask(3));
    renumber(&mut steps, 1);
    let installed = (3, gives(0));
    let with = |first, second, after| {
        let calls = [installed, (5, gives(first)), (6, gives(second)), (7, gives(after))];
        allows(&steps, &[&calls[..], &END].concat())
    };
    assert!(with(-7, -7, -7));
    assert!(with(0o22, -7, -7) && with(0o22, 1, -7));
    assert!(!with(-7, 0o22, -7), "a filter stays");
    assert!(!with(-7, -7, 0o22), "the starter has it too");
}

#[test]
fn threads_without_observed_events_run_in_turn() {
    let steps = at_once(vec![vec![umask(1)], vec![umask(2)]]);
    let events = seen(steps, ALL);
    assert_eq!(events[..2], [gives(0o22), gives(1)]);
}
