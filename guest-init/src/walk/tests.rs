// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::generate::sequence;
use super::model::{Event, EventKind, predict};
use super::operations::{
    Arguments, Call, CallSite, Layout, NamedRange, NewTask, Operation, Selector, Step, listing,
    renumber,
};
use super::shrink::shrink;
use super::{Difference, Platform, first_difference};
use std::collections::BTreeSet;

const ALL: Platform =
    Platform { has_inclusive_mode: true, has_ptrace_config: true, has_ia32: true };

fn layout() -> Layout {
    Layout {
        inside: 0x1000..0x2000,
        compared_addresses: [0x1002, 0x3002, 0x3102, 0x3202],
        selectors: [0x5000, 0x5001],
        unmapped_address: 0x10,
        kernel_address: crate::arch::KERNEL_ADDRESS,
    }
}

fn step(operation: Operation) -> Step {
    Step { number: 0, operation }
}

fn call(site: CallSite, call: Call) -> Step {
    step(Operation::Call { site, call, handler: vec![], reissues: false })
}

fn arm(mode: u64, range: NamedRange, selector: Selector) -> Step {
    call(CallSite::Inside, Call::Prctl(Arguments { mode, range, selector }))
}

fn set_selector(value: u8) -> Step {
    step(Operation::Flip { byte: 0, value })
}

/// The predicted events with their step numbers, without the end of the sequence.
fn seen(mut steps: Vec<Step>, platform: Platform) -> Vec<EventKind> {
    renumber(&mut steps, 1);
    predict(&steps, &layout(), platform).into_iter().map(|event| event.kind).collect()
}

fn gives(result: i64) -> EventKind {
    EventKind::Returned { result: result.cast_unsigned(), preserved: true }
}

fn dispatched(call_address: u64) -> EventKind {
    let (number, result) = (95, 95);
    let arch = crate::arch::AUDIT_ARCH;
    EventKind::Dispatched { number, code: 2, errno: 0, arch, call_address, result }
}

const A: Selector = Selector::Byte(0);
const UMASK: Call = Call::Umask(0o77);

#[test]
fn a_blocked_call_is_dispatched_and_has_no_effect() {
    let steps = vec![
        arm(1, NamedRange::Inside, A),
        set_selector(1),
        call(CallSite::FirstGate, UMASK),
        set_selector(0),
        call(CallSite::FirstGate, UMASK),
    ];
    let expected = [
        gives(0),
        dispatched(0x3002),
        gives(95),
        gives(0o22),
        EventKind::FinalUmask(0o77),
        EventKind::Exited(0),
    ];
    assert_eq!(seen(steps, ALL), expected);
}

#[test]
fn ranges_contain_the_address_after_the_instruction() {
    let through = |mode, range| {
        let steps = vec![arm(mode, range, Selector::Null), call(CallSite::FirstGate, UMASK)];
        !matches!(seen(steps, ALL)[1], EventKind::Dispatched { .. })
    };
    assert!(!through(1, NamedRange::Inside) && !through(1, NamedRange::BeforeFirst));
    assert!(through(1, NamedRange::ThroughFirst) && through(1, NamedRange::Everything));
    assert!(!through(2, NamedRange::First) && !through(2, NamedRange::Both));
    assert!(through(2, NamedRange::Instruction) && through(2, NamedRange::Second));
}

#[test]
fn the_range_of_an_instruction_is_as_long_as_the_instruction() {
    let (offset, length) = layout().range(NamedRange::Instruction);
    assert_eq!(length, crate::arch::CALL_LENGTH);
    assert_eq!(offset + length, layout().compared_address(CallSite::FirstGate));
}

#[test]
fn wrong_arguments_have_their_errors_and_change_nothing() {
    for (mode, range, selector, errno) in [
        (0, NamedRange::Inside, Selector::Null, libc::EINVAL),
        (0, NamedRange::Nothing, A, libc::EINVAL),
        (1, NamedRange::Empty, A, libc::EINVAL),
        (1, NamedRange::Wrapping, Selector::Kernel, libc::EINVAL),
        (1, NamedRange::Inside, Selector::Kernel, libc::EFAULT),
        (2, NamedRange::Nothing, A, libc::EINVAL),
        (2, NamedRange::First, Selector::Kernel, libc::EFAULT),
        (3, NamedRange::First, A, libc::EINVAL),
    ] {
        let steps = vec![
            arm(1, NamedRange::Inside, Selector::Null),
            arm(mode, range, selector),
            call(CallSite::FirstGate, UMASK),
        ];
        assert_eq!(seen(steps, ALL)[1..3], [gives(-i64::from(errno)), dispatched(0x3002)]);
    }
    let without = Platform { has_inclusive_mode: false, ..ALL };
    let refused = seen(vec![arm(2, NamedRange::First, Selector::Kernel)], without);
    assert_eq!(refused[0], gives(-i64::from(libc::EINVAL)));
}

#[test]
fn a_bad_selector_kills() {
    for (selector, value, signal) in
        [(A, 2, libc::SIGSYS), (A, 255, libc::SIGSYS), (Selector::Unmapped, 0, libc::SIGSEGV)]
    {
        let steps = vec![
            arm(1, NamedRange::Inside, selector),
            set_selector(value),
            call(CallSite::FirstGate, UMASK),
        ];
        assert_eq!(seen(steps, ALL), [gives(0), EventKind::Killed(signal)]);
    }
}

#[test]
fn a_new_task_is_not_armed() {
    for new_task in [NewTask::Fork, NewTask::Vfork, NewTask::Thread] {
        let body = vec![call(CallSite::FirstGate, UMASK)];
        let steps = vec![
            arm(1, NamedRange::Inside, Selector::Null),
            step(Operation::StartTask(new_task, body)),
            call(CallSite::FirstGate, UMASK),
        ];
        let seen = seen(steps, ALL);
        assert_eq!(seen[1], gives(0o22), "{new_task:?}");
        assert!(seen.contains(&dispatched(0x3002)), "{new_task:?}");
    }
}

#[test]
fn dispatches_nest_only_with_nodefer() {
    use super::operations::Disposition;
    let nested = |disposition| {
        let handler = vec![call(CallSite::SecondGate, UMASK)];
        let steps = vec![
            step(Operation::SetDisposition(disposition)),
            arm(1, NamedRange::Inside, Selector::Null),
            step(Operation::Call {
                site: CallSite::FirstGate,
                call: UMASK,
                handler,
                reissues: false,
            }),
            call(CallSite::FirstGate, UMASK),
        ];
        seen(steps, ALL)
    };
    assert_eq!(
        nested(Disposition::Handler),
        [gives(0), dispatched(0x3002), EventKind::Killed(libc::SIGSYS)]
    );
    assert_eq!(nested(Disposition::ResetHand)[2], EventKind::Killed(libc::SIGSYS));
    assert_eq!(nested(Disposition::Default)[1], EventKind::Killed(libc::SIGSYS));
    assert_eq!(nested(Disposition::NoDefer)[2..4], [dispatched(0x3102), gives(95)]);
}

#[test]
fn a_seed_is_a_sequence() {
    assert_eq!(sequence(7, ALL), sequence(7, ALL));
    assert_ne!(sequence(7, ALL), sequence(8, ALL));
}

/// Operations that do not occur in short walks would not be tested.
#[test]
fn two_hundred_sequences_see_everything() {
    let mut kinds = BTreeSet::new();
    let mut most = 0;
    for seed in 0..200 {
        let events = predict(&sequence(seed, ALL), &layout(), ALL);
        most = most.max(events.len());
        for Event { step, kind } in events {
            kinds.insert(match kind {
                EventKind::Dispatched { number, arch, call_address, .. } => {
                    let site = layout().address_name(call_address);
                    format!("dispatched {number} {arch:#x} {site}")
                }
                EventKind::Returned { result, .. } if result.cast_signed() < 0 => {
                    format!("gives {}", result.cast_signed())
                }
                EventKind::Returned { .. } => "gives".into(),
                EventKind::ConfigRead(config) => format!("reads {}", config.mode),
                EventKind::FinalUmask(_) => "mask".into(),
                EventKind::Killed(signal) => format!("{} by {signal}", step == 0),
                other => format!("{other:?}"),
            });
        }
    }
    for expected in [
        "dispatched 95 0xc000003e the first gate",
        "dispatched 95 0xc000003e the second gate",
        "dispatched 60 0x40000003 the int 0x80 gate",
        "dispatched 157 0xc000003e the first gate",
        "dispatched -1 0xc000003e the first gate",
        "gives -22",
        "gives -14",
        "gives -38",
        "reads 0",
        "reads 1",
        "reads 2",
        "Stopped(31)",
        "Stopped(10)",
        "SetByTracer(0)",
        "SetByTracer(22)",
        "SetByTracer(14)",
        "false by 31",
        "true by 31",
        "false by 11",
    ] {
        assert!(kinds.contains(expected), "`{expected}` is not among {kinds:#?}");
    }
    assert!(kinds.iter().any(|kind| kind.starts_with("CallEntry")), "{kinds:#?}");
    assert!(most < 300, "{most} events");
}

#[test]
fn a_difference_is_the_first_and_may_be_an_end() {
    let event = |kind| Event { step: 1, kind };
    let (one, two) = (event(EventKind::Exited(0)), event(EventKind::Exited(1)));
    assert_eq!(first_difference(&[one, two], &[one, two]), None);
    let found = Difference { expected: Some(two), observed: None };
    assert_eq!(first_difference(&[one, two], &[one]), Some(found));
    assert_eq!(
        first_difference(&[], &[two]),
        Some(Difference { expected: None, observed: Some(two) })
    );
}

/// A predicate on the model's events takes the place of a kernel with a bug.
#[test]
fn a_sequence_shrinks_to_what_shows_the_difference() {
    let body = vec![
        arm(1, NamedRange::Inside, A),
        set_selector(1),
        step(Operation::RaiseSigusr1(vec![call(CallSite::SecondGate, UMASK)])),
        call(CallSite::FirstGate, UMASK),
    ];
    let mut steps = vec![
        call(CallSite::FirstGate, UMASK),
        step(Operation::StartTask(NewTask::Fork, body)),
        set_selector(0),
        call(CallSite::SecondGate, Call::UnusedNumber),
    ];
    renumber(&mut steps, 1);
    let fails = |steps: &[Step]| {
        let events = predict(steps, &layout(), ALL);
        events.iter().any(|event| event.kind == dispatched(0x3002))
    };
    assert!(fails(&steps));
    let small = shrink(&steps, fails);
    assert_eq!(
        listing(&small),
        "  1 prctl(EXCLUSIVE, inside, A) from inside\n  \
         2 A = 1\n  \
         3 umask(0o77) from the first gate\n"
    );
}

#[test]
fn shrinking_ends_when_it_is_given_up() {
    let steps = sequence(3, ALL);
    assert_eq!(shrink(&steps, |_| false), steps);
}
