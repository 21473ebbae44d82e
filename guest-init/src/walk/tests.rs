// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::generate::sequence;
use super::model::{Event, What, predict};
use super::operations::{
    Arguments, Birth, Call, Layout, Operation, Place, Selector, Span, Step, listing, renumber,
};
use super::shrink::shrink;
use super::{Difference, Offers, difference};
use std::collections::BTreeSet;

const ALL: Offers = Offers { inclusive: true, ptrace_config: true, ia32: true };

fn layout() -> Layout {
    Layout {
        inside: 0x1000..0x2000,
        after: [0x1002, 0x3002, 0x3102, 0x3202],
        selectors: [0x5000, 0x5001],
        unmapped: 0x10,
        kernel: crate::arch::KERNEL_ADDRESS,
    }
}

fn step(operation: Operation) -> Step {
    Step { number: 0, operation }
}

fn call(place: Place, call: Call) -> Step {
    step(Operation::Call { place, call, handler: vec![], again: false })
}

fn arm(mode: u64, span: Span, selector: Selector) -> Step {
    call(Place::Inside, Call::Prctl(Arguments { mode, span, selector }))
}

fn flip(value: u8) -> Step {
    step(Operation::Flip { byte: 0, value })
}

/// The predicted events with their step numbers, without the end of the sequence.
fn seen(mut steps: Vec<Step>, offers: Offers) -> Vec<What> {
    renumber(&mut steps, 1);
    predict(&steps, &layout(), offers).into_iter().map(|event| event.what).collect()
}

fn gives(result: i64) -> What {
    What::Returned { result: result.cast_unsigned(), kept: true }
}

fn dispatched(at: u64) -> What {
    let (number, result) = (95, 95);
    let arch = crate::arch::AUDIT_ARCH;
    What::Dispatched { number, code: 2, errno: 0, arch, at, result }
}

const A: Selector = Selector::Byte(0);
const UMASK: Call = Call::Umask(0o77);

#[test]
fn a_blocked_call_is_dispatched_and_has_no_effect() {
    let steps = vec![
        arm(1, Span::Inside, A),
        flip(1),
        call(Place::First, UMASK),
        flip(0),
        call(Place::First, UMASK),
    ];
    let due =
        [gives(0), dispatched(0x3002), gives(95), gives(0o22), What::Mask(0o77), What::Exited(0)];
    assert_eq!(seen(steps, ALL), due);
}

#[test]
fn ranges_are_of_bytes_behind_the_instruction() {
    let through = |mode, span| {
        let steps = vec![arm(mode, span, Selector::Null), call(Place::First, UMASK)];
        !matches!(seen(steps, ALL)[1], What::Dispatched { .. })
    };
    assert!(!through(1, Span::Inside) && !through(1, Span::BeforeFirst));
    assert!(through(1, Span::ThroughFirst) && through(1, Span::Everything));
    assert!(!through(2, Span::First) && !through(2, Span::Both));
    assert!(through(2, Span::Instruction) && through(2, Span::Second));
}

#[test]
fn wrong_arguments_have_their_errors_and_change_nothing() {
    for (mode, span, selector, errno) in [
        (0, Span::Inside, Selector::Null, libc::EINVAL),
        (0, Span::Nothing, A, libc::EINVAL),
        (1, Span::Empty, A, libc::EINVAL),
        (1, Span::Wrapping, Selector::Kernel, libc::EINVAL),
        (1, Span::Inside, Selector::Kernel, libc::EFAULT),
        (2, Span::Nothing, A, libc::EINVAL),
        (2, Span::First, Selector::Kernel, libc::EFAULT),
        (3, Span::First, A, libc::EINVAL),
    ] {
        let steps = vec![
            arm(1, Span::Inside, Selector::Null),
            arm(mode, span, selector),
            call(Place::First, UMASK),
        ];
        assert_eq!(seen(steps, ALL)[1..3], [gives(-i64::from(errno)), dispatched(0x3002)]);
    }
    let without = Offers { inclusive: false, ..ALL };
    let refused = seen(vec![arm(2, Span::First, Selector::Kernel)], without);
    assert_eq!(refused[0], gives(-i64::from(libc::EINVAL)));
}

#[test]
fn a_bad_selector_kills() {
    for (selector, value, signal) in
        [(A, 2, libc::SIGSYS), (A, 255, libc::SIGSYS), (Selector::Unmapped, 0, libc::SIGSEGV)]
    {
        let steps = vec![arm(1, Span::Inside, selector), flip(value), call(Place::First, UMASK)];
        assert_eq!(seen(steps, ALL), [gives(0), What::Killed(signal)]);
    }
}

#[test]
fn whoever_is_born_is_not_armed() {
    for birth in [Birth::Copied, Birth::Shared, Birth::Thread] {
        let body = vec![call(Place::First, UMASK)];
        let steps = vec![
            arm(1, Span::Inside, Selector::Null),
            step(Operation::Birth(birth, body)),
            call(Place::First, UMASK),
        ];
        let seen = seen(steps, ALL);
        assert_eq!(seen[1], gives(0o22), "{birth:?}");
        assert!(seen.contains(&dispatched(0x3002)), "{birth:?}");
    }
}

#[test]
fn a_handler_nests_only_if_it_may() {
    use super::operations::Handling;
    let nested = |handling| {
        let handler = vec![call(Place::Second, UMASK)];
        let steps = vec![
            step(Operation::Handle(handling)),
            arm(1, Span::Inside, Selector::Null),
            step(Operation::Call { place: Place::First, call: UMASK, handler, again: false }),
            call(Place::First, UMASK),
        ];
        seen(steps, ALL)
    };
    assert_eq!(
        nested(Handling::Handler),
        [gives(0), dispatched(0x3002), What::Killed(libc::SIGSYS)]
    );
    assert_eq!(nested(Handling::Once)[2], What::Killed(libc::SIGSYS));
    assert_eq!(nested(Handling::Default)[1], What::Killed(libc::SIGSYS));
    assert_eq!(nested(Handling::Nesting)[2..4], [dispatched(0x3102), gives(95)]);
}

#[test]
fn a_seed_is_a_sequence() {
    assert_eq!(sequence(7, ALL), sequence(7, ALL));
    assert_ne!(sequence(7, ALL), sequence(8, ALL));
}

/// An operation that no short walk does would never be tested.
#[test]
fn two_hundred_sequences_see_everything() {
    let mut kinds = BTreeSet::new();
    let mut most = 0;
    for seed in 0..200 {
        let events = predict(&sequence(seed, ALL), &layout(), ALL);
        most = most.max(events.len());
        for Event { step, what } in events {
            kinds.insert(match what {
                What::Dispatched { number, arch, at, .. } => {
                    let place = layout().name(at);
                    format!("dispatched {number} {arch:#x} {place}")
                }
                What::Returned { result, .. } if result.cast_signed() < 0 => {
                    format!("gives {}", result.cast_signed())
                }
                What::Returned { .. } => "gives".into(),
                What::Told(told) => format!("told {}", told.mode),
                What::Mask(_) => "mask".into(),
                What::Killed(signal) => format!("{} by {signal}", step == 0),
                other => format!("{other:?}"),
            });
        }
    }
    for due in [
        "dispatched 95 0xc000003e the first gate",
        "dispatched 95 0xc000003e the second gate",
        "dispatched 60 0x40000003 the int 0x80 gate",
        "dispatched 157 0xc000003e the first gate",
        "dispatched -1 0xc000003e the first gate",
        "gives -22",
        "gives -14",
        "gives -38",
        "told 0",
        "told 1",
        "told 2",
        "Stopped(31)",
        "Stopped(10)",
        "Set(0)",
        "Set(22)",
        "Set(14)",
        "false by 31",
        "true by 31",
        "false by 11",
    ] {
        assert!(kinds.contains(due), "`{due}` is not among {kinds:#?}");
    }
    assert!(kinds.iter().any(|kind| kind.starts_with("Entered")), "{kinds:#?}");
    assert!(most < 300, "{most} events");
}

#[test]
fn a_difference_is_the_first_and_may_be_an_end() {
    let event = |what| Event { step: 1, what };
    let (one, two) = (event(What::Exited(0)), event(What::Exited(1)));
    assert_eq!(difference(&[one, two], &[one, two]), None);
    let found = Difference { expected: Some(two), observed: None };
    assert_eq!(difference(&[one, two], &[one]), Some(found));
    assert_eq!(difference(&[], &[two]), Some(Difference { expected: None, observed: Some(two) }));
}

/// A stand-in for a kernel with a bug: a model that does not disarm children.
#[test]
fn a_sequence_shrinks_to_what_shows_the_difference() {
    let body = vec![
        arm(1, Span::Inside, A),
        flip(1),
        step(Operation::Signal(vec![call(Place::Second, UMASK)])),
        call(Place::First, UMASK),
    ];
    let mut steps = vec![
        call(Place::First, UMASK),
        step(Operation::Birth(Birth::Copied, body)),
        flip(0),
        call(Place::Second, Call::Unused),
    ];
    renumber(&mut steps, 1);
    let fails = |steps: &[Step]| {
        let events = predict(steps, &layout(), ALL);
        events.iter().any(|event| event.what == dispatched(0x3002))
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
