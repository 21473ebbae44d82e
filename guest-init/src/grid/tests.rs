// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::cover::{all_states, covering, full_product};
use super::dimension::{
    Axis, DIMENSION_COUNT, DIMENSIONS, Disposition, GateChoice, Mode, Number, Point, Selector,
    Span, Tracer,
};
use super::memory::{Layout, Platform};
use super::model::{Bugs, predict};
use super::observation::{Frame, Observation, Siginfo};
use super::{Product, by_id};
use crate::arch;
use std::collections::HashSet;

fn layout() -> Layout {
    let platform = Platform {
        has_inclusive_mode: true,
        has_ptrace_config: true,
        has_ia32: true,
        has_filters: true,
        has_rseq: true,
        has_pid_namespaces: true,
        has_tracepoints: true,
        has_audit: true,
        has_sysctl: true,
        has_x32: false,
    };
    let (first, second) = (arch::gate(), arch::second_gate());
    let second_entry = arch::second_entry();
    let gate = second_entry.map(|entry| entry.gate);
    Layout {
        platform,
        inside: arch::inside(),
        gates: [Some(first), Some(second), gate, Some(first), Some(second), Some(first)],
        second_entry,
        selectors: std::array::from_fn(|index| {
            let is_null = index == Selector::Null as usize;
            Some(if is_null { 0 } else { 0x100 + index as u64 })
        }),
        code_byte: 2,
        allow_selector: 0x800,
        id_addresses: [0x1000, 0x1004, 0x1008],
        restart_number: 219,
        zero_is_read: true,
        handlers: [0x2000, 0x3000],
    }
}

/// The predicted observations of the point with these states.
fn predicted(states: &[(Axis, u8)]) -> Vec<Observation> {
    predict(&Point::with_states(states), &layout(), Bugs::default()).expect("a valid point")
}

const PASSED: Observation =
    Observation::Returned { result: Some(0), preserved: true, executed: true };
const NEXT: Observation = Observation::NextCall { executed: true };

fn handled() -> Observation {
    let address = arch::gate().compared_address();
    let number = libc::SYS_getresuid;
    let registers =
        arch::Registers::for_call(number.cast_unsigned(), [0x1000, 0x1004, 0x1008, 0, 0, 0]);
    let number = i32::try_from(number).expect("a small number");
    let info = Siginfo { code: 2, errno: 0, number, arch: arch::AUDIT_ARCH, call_address: address };
    let result = registers[arch::Reg::RESULT];
    Observation::Handled(Some(Frame {
        info,
        on_alternate_stack: false,
        result,
        instruction_pointer: address,
        preserved: true,
        mask: 0,
    }))
}

#[test]
fn an_allowed_call_passes_and_a_blocked_one_is_handled() {
    assert_eq!(predicted(&[]), [Observation::Set(0), PASSED, NEXT]);
    let observations = predicted(&[(Axis::Value, 1)]);
    let Observation::Returned { executed: false, .. } = observations[2] else {
        panic!("{observations:?}")
    };
    assert_eq!(
        (observations[0], observations[1], observations[3]),
        (Observation::Set(0), handled(), NEXT)
    );
    let killed = [Observation::Set(0), Observation::Killed(libc::SIGSYS)];
    assert_eq!(predicted(&[(Axis::Value, 2)]), killed);
    for disposition in [Disposition::Ignored, Disposition::Default, Disposition::Blocked] {
        assert_eq!(predicted(&[(Axis::Value, 1), (Axis::Disposition, disposition as u8)]), killed);
    }
    let unreadable = (Axis::Selector, Selector::NoAccess as u8);
    assert_eq!(predicted(&[unreadable]), [Observation::Set(0), Observation::Killed(libc::SIGSEGV)]);
}

#[test]
fn without_a_selector_and_a_range_the_return_from_the_handler_kills() {
    let nothing = [(Axis::Selector, Selector::Null as u8), (Axis::Span, Span::Nothing as u8)];
    assert_eq!(
        predicted(&nothing),
        [Observation::Set(0), handled(), Observation::Killed(libc::SIGSYS)]
    );
}

#[test]
fn recorded_bugs_change_predictions() {
    let killed_while_traced = [(Axis::Value, 2), (Axis::Tracer, Tracer::Syscall as u8)];
    let restart = [(Axis::Value, 1), (Axis::Number, Number::Minus513 as u8)];
    let bugs = Bugs { restart_number: true, phantom_exit: true };
    for states in [&killed_while_traced, &restart] {
        let point = Point::with_states(states);
        let right = predict(&point, &layout(), Bugs::default());
        let wrong = predict(&point, &layout(), bugs);
        assert!(right.is_some() && wrong.is_some() && right != wrong, "{point}");
    }
    let point = Point::with_states(&[(Axis::Value, 1)]);
    assert_eq!(
        predict(&point, &layout(), bugs),
        predict(&point, &layout(), Bugs::default()),
        "a bug changes nothing elsewhere"
    );
}

/// Compares the model with ranges as sets of integers that do not wrap.
#[test]
fn ranges_are_obeyed_to_the_byte() {
    let ip = u128::from(arch::gate().compared_address());
    for span in Span::ALL {
        let layout = layout();
        let [offset, length] = super::call::range(*span, arch::gate().compared_address(), &layout);
        let (start, end) = (u128::from(offset), u128::from(offset) + u128::from(length));
        for mode in [Mode::Exclusive, Mode::Inclusive] {
            let fits = end <= u128::from(u64::MAX) && end > start;
            let accepted = fits || (mode == Mode::Exclusive && offset == 0);
            let states = [(Axis::Value, 1), (Axis::Span, *span as u8), (Axis::Mode, mode as u8)];
            let observations = predicted(&states);
            assert_eq!(observations[0] == Observation::Set(0), accepted, "{span:?} {mode:?}");
            let within = (start..end).contains(&ip);
            let dispatched = accepted && within == (mode == Mode::Inclusive);
            assert_eq!(observations[1] == handled(), dispatched, "{span:?} {mode:?}");
        }
    }
}

#[test]
fn codes_parse_to_their_points() {
    let mut random = super::cover::Random(3);
    let states = all_states();
    for _ in 0..100 {
        let point =
            Point(std::array::from_fn(|axis| states[axis][random.below(states[axis].len())]));
        assert_eq!(Point::parse(&point.code()), Some(point));
        assert!(by_id(&format!("grid/at-{}", point.code())).is_some());
    }
    assert_eq!(Point::default().code(), "00");
    let too_long = "00".repeat(DIMENSION_COUNT + 1);
    for wrong in ["", "0", "0g", "00ff", "é0", &too_long] {
        assert_eq!(Point::parse(wrong), None, "{wrong}");
    }
}

/// The point's combinations of states of `strength` dimensions.
fn combinations(point: &Point, strength: usize) -> Vec<Vec<(usize, u8)>> {
    let mut all: Vec<Vec<(usize, u8)>> = vec![Vec::new()];
    for _ in 0..strength {
        all = all
            .iter()
            .flat_map(|combination| {
                let first = combination.last().map_or(0, |(axis, _)| axis + 1);
                (first..DIMENSION_COUNT)
                    .map(|axis| [&combination[..], &[(axis, point.0[axis])]].concat())
            })
            .collect();
    }
    all
}

#[test]
fn a_covering_set_has_every_combination_that_the_full_product_has() {
    let mut choices: super::cover::Choices = std::array::from_fn(|_| vec![0]);
    choices[Axis::Value as usize] = vec![0, 1, 255];
    choices[Axis::Mode as usize] = vec![0, 1, 2];
    choices[Axis::Span as usize] = vec![0, 1, 2, 3];
    choices[Axis::GateChoice as usize] = vec![0, 1];
    choices[Axis::Tracer as usize] = vec![0, 3, 9];
    // One pair and one triple are invalid. A triple that contains the invalid pair is invalid too: 3 + 2 + 3
    // triples with a value, a gate or a tracer.
    let valid = |point: &Point| {
        let is = |axis: Axis, state| point.0[axis as usize] == state;
        let pair = is(Axis::Mode, 1) && is(Axis::Span, 3);
        let triple = is(Axis::Value, 255) && is(Axis::GateChoice, 1) && is(Axis::Tracer, 9);
        !pair && !triple
    };
    let full = full_product(&choices, valid);
    for (strength, impossible) in [(2, 1), (3, 1 + 3 + 2 + 3)] {
        let (points, impossible_count) = covering(&choices, strength, 7, &[Axis::Tracer], valid);
        assert!(points.iter().all(valid) && points.len() < full.len() / 2);
        let all_combinations = |points: &[Point]| -> HashSet<_> {
            points.iter().flat_map(|point| combinations(point, strength)).collect()
        };
        assert_eq!(all_combinations(&points), all_combinations(&full));
        assert_eq!(impossible_count, impossible, "of strength {strength}");
        assert_eq!(
            covering(&choices, strength, 7, &[Axis::Tracer], valid).0,
            points,
            "a seed gives the same points each time"
        );
    }
}

#[test]
fn products_contain_every_state() {
    let pairs = Product::Pairs.points(&layout());
    let layout = layout();
    let points = [Product::Range, Product::Dispatched, Product::Killed, Product::Triples];
    let mut points: Vec<Point> =
        points.iter().flat_map(|product| product.points(&layout)).collect();
    points.extend(&pairs);
    for (axis, dimension) in DIMENSIONS.iter().enumerate() {
        let states: HashSet<u8> = points.iter().map(|point| point.0[axis]).collect();
        let lacks_state = axis == Axis::GateChoice as usize && arch::second_entry().is_none();
        let expected = dimension.states.len().saturating_sub(usize::from(lacks_state));
        assert!(states.len() >= expected, "{}: {} of {expected}", dimension.title, states.len());
    }
    let at_page_end = points.iter().filter(|point| point.gate() == GateChoice::EndOfPage).count();
    assert!(at_page_end > 10 && pairs.len() < 500, "{} pairs", pairs.len());
    assert_eq!(Product::Pairs.points(&layout), pairs);
}

#[test]
fn without_pid_namespaces_no_product_has_the_init_of_one() {
    let mut layout = layout();
    layout.platform.has_pid_namespaces = false;
    use Product::{
        Deaths, Dispatched, DispatchedTriples, Killed, KilledTriples, Pairs, Passed,
        PassedWithExpensive, Random, Range, Selector,
    };
    let products = [
        Range,
        Selector,
        Deaths,
        Pairs,
        Dispatched,
        Killed,
        Passed,
        DispatchedTriples,
        KilledTriples,
        PassedWithExpensive,
        Random(1),
    ];
    for product in products {
        let is_init = |point: &Point| point.task() == super::dimension::Task::Init;
        assert!(!product.points(&layout).iter().any(is_init), "{product:?}");
    }
}
