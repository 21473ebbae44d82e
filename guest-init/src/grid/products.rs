// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The products of the grid and the points of each.

use super::cover::{self, Choices};
use super::dimension::{
    Arming, Axis, Disposition, Entry, Mode, Monitor, Number, Point, Rseq, Seccomp, Selector, Span,
    Sysctl, Task, Tracer, VALUES,
};
use super::memory::Layout;
use super::model::{Bugs, first_decision, predict};
use crate::oracle::Decision;

/// A set of points that a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Every mode with every range, entry, and with a selector at ALLOW or BLOCK or without one.
    Range,
    /// Every value of the selector, and a sample of values with each kind of memory and each disposition of
    /// SIGSYS that acts differently.
    Selector,
    /// Each way in which a call is fatal, in each kind of task, with each tracer that acts differently.
    Deaths,
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
    /// As `Passed`, with the expensive states too.
    AllPassed,
    /// Every triple of states.
    Triples,
    /// [`RANDOM_POINTS`] random points of this seed.
    Random(u64),
    /// This point.
    One(Point),
}

/// The number of points in a random product.
const RANDOM_POINTS: usize = 10_000;

impl Product {
    /// The points of the product that are possible with this layout. Points that can share a task are
    /// neighbours.
    #[must_use]
    pub(super) fn points(self, layout: &Layout) -> Vec<Point> {
        let valid = |point: &Point| predict(point, layout, Bugs::default()).is_some();
        let mut points = match self {
            Product::Range => cover::full_product(&range_states(layout), valid),
            Product::Selector => {
                let mut points = cover::full_product(&selector_states(), valid);
                points.extend(cover::full_product(&sampled_selector_states(), valid));
                points
            }
            Product::Deaths => {
                let mut points = cover::full_product(&deaths_by_selector(layout), valid);
                points.extend(cover::full_product(&deaths_by_signal(layout), valid));
                points
            }
            Product::Pairs => {
                cover::covering(&without_expensive(pair_states(layout)), 2, 1, EXPENSIVE, valid).0
            }
            Product::Dispatched => covering_points(
                &without_expensive(dispatched_states(layout)),
                2,
                is_dispatched,
                layout,
            ),
            Product::Killed => covering_points(
                &without_expensive(killed_states(layout, &[2, 0xff])),
                2,
                is_killed,
                layout,
            ),
            Product::Passed => covering_points(
                &without_expensive(narrowed_states(layout, &[0, 1])),
                2,
                is_passed,
                layout,
            ),
            Product::AllDispatched => {
                covering_points(&dispatched_states(layout), 3, is_dispatched, layout)
            }
            Product::AllKilled => {
                covering_points(&killed_states(layout, VALUES), 3, is_killed, layout)
            }
            Product::AllPassed => {
                covering_points(&narrowed_states(layout, &[0, 1]), 2, is_passed, layout)
            }
            Product::Triples => cover::covering(&available_states(layout), 3, 1, &[], valid).0,
            Product::Random(seed) => {
                cover::random_points(&available_states(layout), seed, RANDOM_POINTS, valid)
            }
            Product::One(point) => vec![point],
        };
        points.sort_by_key(|point| {
            [
                Axis::Monitor,
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

/// The numbers of the states that `keep` accepts.
fn state_numbers<T: Copy>(all: &[T], keep: impl Fn(T) -> bool) -> Vec<u8> {
    (0u8..).zip(all).filter(|(_, state)| keep(**state)).map(|(number, _)| number).collect()
}

/// State 0 of every dimension.
fn default_states() -> Choices {
    std::array::from_fn(|_| vec![0])
}

/// The states of [`Product::Range`].
fn range_states(layout: &Layout) -> Choices {
    let mut choices = default_states();
    choices[Axis::Value as usize] = vec![0, 1];
    choices[Axis::Mode as usize] = state_numbers(Mode::ALL, |_| true);
    choices[Axis::Span as usize] = state_numbers(Span::ALL, |_| true);
    choices[Axis::Selector as usize] =
        state_numbers(Selector::ALL, |s| matches!(s, Selector::Private | Selector::Null));
    choices[Axis::Entry as usize] = state_numbers(Entry::ALL, |entry| {
        layout.entry(entry).is_some() && !matches!(entry, Entry::Second | Entry::Low)
    });
    choices
}

/// All values of the selector.
fn selector_states() -> Choices {
    let mut choices = default_states();
    choices[Axis::Value as usize] = (0..=255).collect();
    choices
}

/// A sample of values with each kind of memory, with SIGSYS ignored, blocked, or handled with `SA_NODEFER`.
fn sampled_selector_states() -> Choices {
    let mut choices = default_states();
    choices[Axis::Value as usize] = VALUES.to_vec();
    choices[Axis::Selector as usize] = state_numbers(Selector::ALL, Selector::is_memory);
    choices[Axis::Disposition as usize] = state_numbers(Disposition::ALL, |disposition| {
        matches!(disposition, Disposition::Ignored | Disposition::Blocked | Disposition::NoDefer)
    });
    choices
}

/// Invalid selectors, by value and by memory, in each kind of task, with each tracer that acts differently.
fn deaths_by_selector(layout: &Layout) -> Choices {
    use Tracer::{Calls, Continues, None, SeizedContinues};
    let mut choices = deaths(layout);
    choices[Axis::Value as usize] = vec![2];
    choices[Axis::Selector as usize] =
        state_numbers(Selector::ALL, |s| matches!(s, Selector::Private | Selector::NoAccess));
    choices[Axis::Tracer as usize] = state_numbers(Tracer::ALL, |tracer| {
        matches!(tracer, None | Continues | Calls | SeizedContinues)
    });
    choices
}

/// Dispatches without a handler, in each kind of task, with and without a tracer.
fn deaths_by_signal(layout: &Layout) -> Choices {
    let mut choices = deaths(layout);
    choices[Axis::Value as usize] = vec![1];
    choices[Axis::Disposition as usize] = state_numbers(Disposition::ALL, |disposition| {
        matches!(disposition, Disposition::Default | Disposition::Ignored | Disposition::Blocked)
    });
    choices[Axis::Tracer as usize] =
        state_numbers(Tracer::ALL, |tracer| matches!(tracer, Tracer::None | Tracer::Continues));
    choices
}

/// The kinds of tasks that die differently from an ordinary process, and are possible here.
fn deaths(layout: &Layout) -> Choices {
    let mut choices = default_states();
    choices[Axis::Task as usize] = state_numbers(Task::ALL, |task| {
        task == Task::Thread || (task == Task::Init && layout.platform.namespaces)
    });
    choices
}

/// Dimensions whose states other than the first take several times as long to run.
const EXPENSIVE: &[Axis] = &[Axis::Tracer, Axis::Task, Axis::Seccomp, Axis::Monitor, Axis::Sysctl];

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
fn covering_points(
    choices: &Choices,
    strength: usize,
    wanted: fn(Decision) -> bool,
    layout: &Layout,
) -> Vec<Point> {
    let valid = |point: &Point| {
        first_decision(point, layout).is_some_and(wanted)
            && predict(point, layout, Bugs::default()).is_some()
    };
    cover::covering(choices, strength, 1, EXPENSIVE, valid).0
}

/// Removes the states that take longest to run, for products that are part of every run.
fn without_expensive(mut choices: Choices) -> Choices {
    choices[Axis::Monitor as usize] = vec![0];
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

/// One call number of each kind, for calls that do not reach a handler.
fn one_number_of_each_kind() -> Vec<u8> {
    use Number::{Disarm, Effect, Exit, Minus513, MinusOne, Zero};
    state_numbers(Number::ALL, |number| {
        [Effect, MinusOne, Minus513, Exit, Zero, Disarm].contains(&number)
    })
}

/// The states of calls that are dispatched unless the range allows them.
fn dispatched_states(layout: &Layout) -> Choices {
    let mut choices = without_allowing_ranges(narrowed_states(layout, &[1]), layout);
    choices[Axis::Number as usize] = state_numbers(Number::ALL, |_| true);
    choices[Axis::Selector as usize]
        .retain(|state| is_state(Selector::ALL, *state, |s| s == Selector::Null || s.is_memory()));
    choices
}

/// The states of calls that are killed by a selector with one of these values or in unreadable memory.
fn killed_states(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = without_allowing_ranges(narrowed_states(layout, values), layout);
    choices[Axis::Selector as usize].retain(|state| {
        let unused = |s| matches!(s, Selector::Null | Selector::Kernel | Selector::Top);
        is_state(Selector::ALL, *state, |s| !unused(s))
    });
    choices
}

/// Removes ranges that allow the call under test in exclusive mode, if there is no inclusive mode.
fn without_allowing_ranges(mut choices: Choices, layout: &Layout) -> Choices {
    choices[Axis::Span as usize].retain(|state| {
        let allows = |span| matches!(span, Span::Ip | Span::ThroughIp);
        layout.platform.inclusive || is_state(Span::ALL, *state, |span| !allows(span))
    });
    choices
}

/// Whether the state with this number is one that `is` accepts.
fn is_state<T: Copy>(all: &[T], state: u8, is: impl Fn(T) -> bool) -> bool {
    is(all[usize::from(state)])
}

/// The available states with these values of the selector, few call numbers, and ranges and selectors that
/// the kernel accepts.
fn narrowed_states(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = available_states(layout);
    choices[Axis::Value as usize] = values.to_vec();
    choices[Axis::Mode as usize] = state_numbers(Mode::ALL, |mode| {
        mode == Mode::Exclusive || (mode == Mode::Inclusive && layout.platform.inclusive)
    });
    choices[Axis::Span as usize] = state_numbers(Span::ALL, |span| {
        matches!(
            span,
            Span::Inside | Span::ToIp | Span::ThroughIp | Span::Ip | Span::Nothing | Span::BelowIp
        )
    });
    choices[Axis::Number as usize] = one_number_of_each_kind();
    choices[Axis::Selector as usize].retain(|state| {
        is_state(Selector::ALL, *state, |s| !matches!(s, Selector::Kernel | Selector::Top))
    });
    choices
}

/// The states of [`Product::Pairs`]: fewer ranges, since [`Product::Range`] has all, and fewer call numbers,
/// since [`Product::Dispatched`] has all.
fn pair_states(layout: &Layout) -> Choices {
    use Span::{
        AfterIp, All, BeforeIp, BelowAndIp, BelowIp, EmptyAtIp, Inside, Ip, Nothing, ThroughIp,
        ToIp, Wraps,
    };
    let mut choices = available_states(layout);
    choices[Axis::Number as usize] = one_number_of_each_kind();
    choices[Axis::Disposition as usize].retain(|state| {
        use Disposition::{Blocked, Default, Handler, Ignored, NoDefer, NoSiginfo, ResetHand};
        [Handler, NoDefer, ResetHand, NoSiginfo, Ignored, Default, Blocked]
            .contains(&Disposition::ALL[usize::from(*state)])
    });
    choices[Axis::Span as usize] = state_numbers(Span::ALL, |span| {
        [
            Inside, ToIp, ThroughIp, Ip, BeforeIp, AfterIp, Nothing, EmptyAtIp, All, Wraps,
            BelowIp, BelowAndIp,
        ]
        .contains(&span)
    });
    choices
}

/// All states that are possible on this kernel and machine.
fn available_states(layout: &Layout) -> Choices {
    let mut choices = cover::all_states();
    let platform = layout.platform;
    let mut keep = |axis: Axis, states: Vec<u8>| choices[axis as usize] = states;
    keep(Axis::Entry, state_numbers(Entry::ALL, |entry| layout.entry(entry).is_some()));
    keep(Axis::Selector, state_numbers(Selector::ALL, |s| layout.selector(s).is_some()));
    keep(
        Axis::Arming,
        state_numbers(Arming::ALL, |a| platform.ptrace_config || a != Arming::Tracer),
    );
    keep(Axis::Task, state_numbers(Task::ALL, |task| platform.namespaces || task != Task::Init));
    keep(
        Axis::Seccomp,
        state_numbers(Seccomp::ALL, |s| {
            platform.filter || matches!(s, Seccomp::None | Seccomp::Strict)
        }),
    );
    keep(Axis::Rseq, state_numbers(Rseq::ALL, |r| platform.rseq || r == Rseq::None));
    keep(
        Axis::Monitor,
        state_numbers(Monitor::ALL, |monitor| match monitor {
            Monitor::None => true,
            Monitor::Tracepoints => platform.tracepoints,
            Monitor::Audit => platform.audit,
        }),
    );
    keep(Axis::Sysctl, state_numbers(Sysctl::ALL, |s| platform.sysctl || s == Sysctl::Permits));
    choices
}
