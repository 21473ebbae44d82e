// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which points a product has.

use super::cover::{self, Choices};
use super::dimension::{
    Armed, Axis, Entry, Handling, Mode, Number, Point, Rseq, Seccomp, Selector, Span, Sysctl, Task,
    Tracer, VALUES, Watch,
};
use super::ground::Layout;
use super::model::{Bugs, first_fate, predict};
use crate::oracle::Decision;

/// A product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Every mode with every range, selector by kind of answer, and entry.
    Range,
    /// Every value of the selector; of each kind of memory, a sample where SIGSYS is not handled.
    Selector,
    /// Every pair of states.
    Pairs,
    /// Every pair of states in points whose call is dispatched.
    Dispatched,
    /// Every pair of states in points whose call kills by its selector.
    Killed,
    /// Every pair of states in points whose call passes an armed dispatch.
    Passed,
    /// Every triple of states in points whose call is dispatched.
    AllDispatched,
    /// Every triple of states in points whose call kills by its selector.
    AllKilled,
    /// Every pair of states, dear ones too, in points whose call passes an armed dispatch.
    AllPassed,
    /// Every triple of states.
    Triples,
    /// So many random points of this seed.
    Random(u64),
    /// This one.
    One(Point),
}

/// The number of points of a random product.
const RANDOM: usize = 10_000;

impl Product {
    /// Its points that make sense with this layout. Those that can share a task follow one another.
    #[must_use]
    pub(super) fn points(self, layout: &Layout) -> Vec<Point> {
        let valid = |point: &Point| predict(point, layout, Bugs::default()).is_some();
        let mut points = match self {
            Product::Range => cover::whole(&range(layout), valid),
            Product::Selector => {
                let mut points = cover::whole(&selector(), valid);
                points.extend(cover::whole(&unhandled_selector(), valid));
                points
            }
            Product::Pairs => cover::covering(&lightly(pairs(layout)), 2, 1, 4, DEAR, valid).0,
            Product::Dispatched => {
                covering_of(&lightly(dispatched(layout)), 2, is_dispatched, layout)
            }
            Product::Killed => {
                covering_of(&lightly(killed(layout, &[2, 0xff])), 2, is_killed, layout)
            }
            Product::Passed => {
                covering_of(&lightly(narrowed(layout, &[0, 1])), 2, is_passed, layout)
            }
            Product::AllDispatched => covering_of(&dispatched(layout), 3, is_dispatched, layout),
            Product::AllKilled => covering_of(&killed(layout, VALUES), 3, is_killed, layout),
            Product::AllPassed => covering_of(&narrowed(layout, &[0, 1]), 2, is_passed, layout),
            Product::Triples => cover::covering(&offered(layout), 3, 1, 1, &[], valid).0,
            Product::Random(seed) => cover::random(&offered(layout), seed, RANDOM, valid),
            Product::One(point) => vec![point],
        };
        points.sort_by_key(|point| {
            [
                Axis::Watch,
                Axis::Sysctl,
                Axis::Parent,
                Axis::Task,
                Axis::Tracer,
                Axis::Rseq,
                Axis::Seccomp,
            ]
            .map(|axis| point.0[axis as usize])
        });
        points
    }
}

fn states<T: Copy>(all: &[T], keep: impl Fn(T) -> bool) -> Vec<u8> {
    (0u8..).zip(all).filter(|(_, state)| keep(**state)).map(|(number, _)| number).collect()
}

/// The first state of every dimension.
fn ordinary() -> Choices {
    std::array::from_fn(|_| vec![0])
}

fn range(layout: &Layout) -> Choices {
    let mut choices = ordinary();
    choices[Axis::Value as usize] = vec![0, 1];
    choices[Axis::Mode as usize] = states(Mode::ALL, |_| true);
    choices[Axis::Span as usize] = states(Span::ALL, |_| true);
    choices[Axis::Selector as usize] =
        states(Selector::ALL, |s| matches!(s, Selector::Private | Selector::Null));
    choices[Axis::Entry as usize] = states(Entry::ALL, |entry| {
        layout.entry(entry).is_some() && !matches!(entry, Entry::Second | Entry::Low)
    });
    choices
}

/// Every value.
fn selector() -> Choices {
    let mut choices = ordinary();
    choices[Axis::Value as usize] = (0..=255).collect();
    choices
}

/// A sample of values where SIGSYS is not handled.
fn unhandled_selector() -> Choices {
    let mut choices = ordinary();
    choices[Axis::Value as usize] = VALUES.to_vec();
    choices[Axis::Selector as usize] = states(Selector::ALL, Selector::is_memory);
    choices[Axis::Handling as usize] = states(Handling::ALL, |handling| {
        matches!(handling, Handling::Ignored | Handling::Blocked | Handling::NoDefer)
    });
    choices
}

/// Dimensions in which other states than the first cost several times as much to try.
const DEAR: &[Axis] = &[Axis::Tracer, Axis::Task, Axis::Seccomp, Axis::Watch, Axis::Sysctl];

fn is_dispatched(decision: Decision) -> bool {
    decision == Decision::Dispatch
}

fn is_killed(decision: Decision) -> bool {
    matches!(decision, Decision::Kill(_))
}

fn is_passed(decision: Decision) -> bool {
    decision == Decision::Pass
}

/// Points that cover every combination of `strength` choices, whose first call gets a decision that
/// `wanted` accepts.
fn covering_of(
    choices: &Choices,
    strength: usize,
    wanted: fn(Decision) -> bool,
    layout: &Layout,
) -> Vec<Point> {
    let valid = |point: &Point| {
        first_fate(point, layout).is_some_and(wanted)
            && predict(point, layout, Bugs::default()).is_some()
    };
    let candidates = if strength == 2 { 4 } else { 1 };
    cover::covering(choices, strength, 1, candidates, DEAR, valid).0
}

/// Without what costs most to try, for the share of every run.
fn lightly(mut choices: Choices) -> Choices {
    choices[Axis::Watch as usize] = vec![0];
    choices[Axis::Task as usize].retain(|state| {
        use Task::{Child, Forked, Init, Thread};
        [Child, Forked, Init, Thread].contains(&Task::ALL[usize::from(*state)])
    });
    choices[Axis::Number as usize].retain(|state| {
        use Number::{Lowest, Minus514, Minus515, Minus516, MinusErrno, Unused};
        ![Lowest, Minus514, Minus515, Minus516, MinusErrno, Unused]
            .contains(&Number::ALL[usize::from(*state)])
    });
    choices[Axis::Tracer as usize].retain(|state| {
        use Tracer::{Calls, Continues, Emulates, None, SeizedCalls, Steps, Suppresses};
        [None, Continues, Calls, Emulates, Steps, SeizedCalls, Suppresses]
            .contains(&Tracer::ALL[usize::from(*state)])
    });
    choices
}

/// A number of each kind, for calls that do not reach a handler.
fn few_numbers() -> Vec<u8> {
    use Number::{Disarm, Effect, Exit, Minus513, MinusOne, Zero};
    states(Number::ALL, |number| [Effect, MinusOne, Minus513, Exit, Zero, Disarm].contains(&number))
}

/// What is offered, of calls that are dispatched if the range does not except them.
fn dispatched(layout: &Layout) -> Choices {
    let mut choices = concerned(narrowed(layout, &[1]), layout);
    choices[Axis::Number as usize] = states(Number::ALL, |_| true);
    choices[Axis::Selector as usize]
        .retain(|state| is_state(Selector::ALL, *state, |s| s == Selector::Null || s.is_memory()));
    choices
}

/// What is offered, of calls that these values or memory that cannot be read kill.
fn killed(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = concerned(narrowed(layout, values), layout);
    choices[Axis::Selector as usize].retain(|state| {
        let none = |s| matches!(s, Selector::Null | Selector::Kernel | Selector::Top);
        is_state(Selector::ALL, *state, |s| !none(s))
    });
    choices
}

/// Without ranges that except every call.
fn concerned(mut choices: Choices, layout: &Layout) -> Choices {
    choices[Axis::Span as usize].retain(|state| {
        let excepts = |span| matches!(span, Span::Ip | Span::ThroughIp);
        layout.offers.inclusive || is_state(Span::ALL, *state, |span| !excepts(span))
    });
    choices
}

fn is_state<T: Copy>(all: &[T], state: u8, is: impl Fn(T) -> bool) -> bool {
    is(all[usize::from(state)])
}

/// What is offered with these values of the selector, with few numbers, and ranges that are taken.
fn narrowed(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = offered(layout);
    choices[Axis::Value as usize] = values.to_vec();
    choices[Axis::Mode as usize] = states(Mode::ALL, |mode| {
        mode == Mode::Exclusive || (mode == Mode::Inclusive && layout.offers.inclusive)
    });
    choices[Axis::Span as usize] = states(Span::ALL, |span| {
        matches!(
            span,
            Span::Inside | Span::ToIp | Span::ThroughIp | Span::Ip | Span::Nothing | Span::BelowIp
        )
    });
    choices[Axis::Number as usize] = few_numbers();
    choices[Axis::Selector as usize].retain(|state| {
        is_state(Selector::ALL, *state, |s| !matches!(s, Selector::Kernel | Selector::Top))
    });
    choices
}

/// The states of the pairs that are part of every run: fewer ranges, as [`Product::Range`] has
/// them all, and fewer numbers, as [`Product::Dispatched`] has them all.
fn pairs(layout: &Layout) -> Choices {
    use Span::{
        AfterIp, All, BeforeIp, BelowAndIp, BelowIp, EmptyAtIp, Inside, Ip, Nothing, ThroughIp,
        ToIp, Wraps,
    };
    let mut choices = offered(layout);
    choices[Axis::Number as usize] = few_numbers();
    choices[Axis::Handling as usize].retain(|state| {
        use Handling::{Blocked, Default, Handler, Ignored, NoDefer, Once, Plain};
        [Handler, NoDefer, Once, Plain, Ignored, Default, Blocked]
            .contains(&Handling::ALL[usize::from(*state)])
    });
    choices[Axis::Span as usize] = states(Span::ALL, |span| {
        [
            Inside, ToIp, ThroughIp, Ip, BeforeIp, AfterIp, Nothing, EmptyAtIp, All, Wraps,
            BelowIp, BelowAndIp,
        ]
        .contains(&span)
    });
    choices
}

/// Every state that the kernel and the machine offer.
fn offered(layout: &Layout) -> Choices {
    let mut choices = cover::all_states();
    let offers = layout.offers;
    let mut keep = |axis: Axis, states: Vec<u8>| choices[axis as usize] = states;
    keep(Axis::Entry, states(Entry::ALL, |entry| layout.entry(entry).is_some()));
    keep(Axis::Selector, states(Selector::ALL, |s| layout.selector(s).is_some()));
    keep(Axis::Armed, states(Armed::ALL, |a| offers.ptrace_config || a != Armed::Tracer));
    keep(Axis::Task, states(Task::ALL, |task| offers.namespaces || task != Task::Init));
    keep(
        Axis::Seccomp,
        states(Seccomp::ALL, |s| offers.filter || matches!(s, Seccomp::None | Seccomp::Strict)),
    );
    keep(Axis::Rseq, states(Rseq::ALL, |r| offers.rseq || r == Rseq::None));
    keep(
        Axis::Watch,
        states(Watch::ALL, |watch| match watch {
            Watch::None => true,
            Watch::Tracepoints => offers.tracepoints,
            Watch::Audit => offers.audit,
        }),
    );
    keep(Axis::Sysctl, states(Sysctl::ALL, |s| offers.sysctl || s == Sysctl::Permits));
    choices
}
