// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The products of the grid and the points of each.

use super::cover::{self, Choices};
use super::dimension::{
    Arming, Axis, Disposition, GateChoice, Mode, Monitor, Number, Point, Rseq, SAMPLE_VALUES,
    Seccomp, Selector, Span, Sysctl, Task, Tracer,
};
use super::memory::Layout;
use super::model::{Bugs, first_decision, predict};
use crate::oracle::Decision;

/// A set of points that a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Every mode with every range and gate, each with a selector at ALLOW, with a selector at BLOCK, and
    /// without a selector.
    Range,
    /// Every value of the selector; and a sample of values with each kind of memory and with the dispositions
    /// of SIGSYS under which dispatch acts differently.
    Selector,
    /// Fatal calls, by an invalid selector or by SIGSYS, in the kinds of tasks that die differently, with the
    /// tracers that act differently.
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
    DispatchedTriples,
    /// Every triple of states in points whose call kills by its selector.
    KilledTriples,
    /// As [`Product::Passed`], including the states that take long to run.
    PassedWithExpensive,
    /// Every triple of states.
    Triples,
    /// [`RANDOM_POINTS`] random points of this seed.
    Random(u64),
    /// This point.
    SinglePoint(Point),
}

/// The strength (size of the combinations) of a covering set that contains every pair of states.
const PAIRS: usize = 2;
/// The strength of a covering set that contains every triple of states.
const TRIPLES: usize = 3;

/// The number of points of a random product.
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
                let mut points = cover::full_product(&states_of_deaths_by_selector(layout), valid);
                points.extend(cover::full_product(&states_of_deaths_by_signal(layout), valid));
                points
            }
            Product::Pairs => {
                cover::covering(
                    &without_expensive(pair_states(layout)),
                    PAIRS,
                    1,
                    EXPENSIVE_AXES,
                    valid,
                )
                .0
            }
            Product::Dispatched => covering_points(
                &without_expensive(dispatched_states(layout)),
                PAIRS,
                is_dispatched,
                layout,
            ),
            Product::Killed => covering_points(
                &without_expensive(killed_states(layout, &[2, 0xff])),
                PAIRS,
                is_killed,
                layout,
            ),
            Product::Passed => covering_points(
                &without_expensive(narrowed_states(layout, &[0, 1])),
                PAIRS,
                is_passed,
                layout,
            ),
            Product::DispatchedTriples => {
                covering_points(&dispatched_states(layout), TRIPLES, is_dispatched, layout)
            }
            Product::KilledTriples => {
                covering_points(&killed_states(layout, SAMPLE_VALUES), TRIPLES, is_killed, layout)
            }
            Product::PassedWithExpensive => {
                covering_points(&narrowed_states(layout, &[0, 1]), PAIRS, is_passed, layout)
            }
            Product::Triples => {
                cover::covering(&available_states(layout), TRIPLES, 1, &[], valid).0
            }
            Product::Random(seed) => {
                cover::random_points(&available_states(layout), seed, RANDOM_POINTS, valid)
            }
            Product::SinglePoint(point) => vec![point],
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

/// The numbers of those states of a dimension that `keep` accepts.
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
    choices[Axis::GateChoice as usize] = state_numbers(GateChoice::ALL, |choice| {
        layout.gate(choice).is_some()
            && !matches!(choice, GateChoice::SecondGate | GateChoice::LowMemory)
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
    choices[Axis::Value as usize] = SAMPLE_VALUES.to_vec();
    choices[Axis::Selector as usize] = state_numbers(Selector::ALL, Selector::is_memory);
    choices[Axis::Disposition as usize] = state_numbers(Disposition::ALL, |disposition| {
        matches!(disposition, Disposition::Ignored | Disposition::Blocked | Disposition::NoDefer)
    });
    choices
}

/// Invalid selectors, by value and by memory, in each kind of task, with each tracer that acts differently.
fn states_of_deaths_by_selector(layout: &Layout) -> Choices {
    use Tracer::{Cont, None, SeizedCont, Syscall};
    let mut choices = tasks_that_die_differently(layout);
    choices[Axis::Value as usize] = vec![2];
    choices[Axis::Selector as usize] =
        state_numbers(Selector::ALL, |s| matches!(s, Selector::Private | Selector::NoAccess));
    choices[Axis::Tracer as usize] =
        state_numbers(Tracer::ALL, |tracer| matches!(tracer, None | Cont | Syscall | SeizedCont));
    choices
}

/// Dispatches without a handler, in each kind of task, with and without a tracer.
fn states_of_deaths_by_signal(layout: &Layout) -> Choices {
    let mut choices = tasks_that_die_differently(layout);
    choices[Axis::Value as usize] = vec![1];
    choices[Axis::Disposition as usize] = state_numbers(Disposition::ALL, |disposition| {
        matches!(disposition, Disposition::Default | Disposition::Ignored | Disposition::Blocked)
    });
    choices[Axis::Tracer as usize] =
        state_numbers(Tracer::ALL, |tracer| matches!(tracer, Tracer::None | Tracer::Cont));
    choices
}

/// The kinds of tasks that die differently from an ordinary process, and are possible here.
fn tasks_that_die_differently(layout: &Layout) -> Choices {
    let mut choices = default_states();
    choices[Axis::Task as usize] = state_numbers(Task::ALL, |task| {
        task == Task::Thread || (task == Task::Init && layout.platform.has_pid_namespaces)
    });
    choices
}

/// Dimensions whose states other than the first take several times as long to run.
const EXPENSIVE_AXES: &[Axis] =
    &[Axis::Tracer, Axis::Task, Axis::Seccomp, Axis::Monitor, Axis::Sysctl];

fn is_dispatched(decision: Decision) -> bool {
    decision == Decision::Dispatch
}

fn is_killed(decision: Decision) -> bool {
    matches!(decision, Decision::Kill(_))
}

fn is_passed(decision: Decision) -> bool {
    decision == Decision::Pass
}

/// A covering set of points: they contain every combination of `strength` states, and `accepts_decision`
/// accepts the kernel's decision about the first call of each.
fn covering_points(
    choices: &Choices,
    strength: usize,
    accepts_decision: fn(Decision) -> bool,
    layout: &Layout,
) -> Vec<Point> {
    let valid = |point: &Point| {
        first_decision(point, layout).is_some_and(accepts_decision)
            && predict(point, layout, Bugs::default()).is_some()
    };
    cover::covering(choices, strength, 1, EXPENSIVE_AXES, valid).0
}

/// Removes the states that take longest to run. The products in every run of all cases lack these states.
fn without_expensive(mut choices: Choices) -> Choices {
    choices[Axis::Monitor as usize] = vec![0];
    choices[Axis::Task as usize].retain(|state| {
        use Task::{Child, Forked, Init, Thread};
        [Child, Forked, Init, Thread].contains(&Task::ALL[usize::from(*state)])
    });
    choices[Axis::Number as usize].retain(|state| {
        use Number::{IntMin, Minus38, Minus514, Minus515, Minus516, Unused};
        ![IntMin, Minus514, Minus515, Minus516, Minus38, Unused]
            .contains(&Number::ALL[usize::from(*state)])
    });
    choices[Axis::Tracer as usize].retain(|state| {
        use Tracer::{Cont, ContSuppressed, None, SeizedSyscall, Singlestep, Syscall, Sysemu};
        [None, Cont, Syscall, Sysemu, Singlestep, SeizedSyscall, ContSuppressed]
            .contains(&Tracer::ALL[usize::from(*state)])
    });
    choices
}

/// One call number of each kind, for calls that do not reach a handler.
fn one_number_of_each_kind() -> Vec<u8> {
    use Number::{Disarm, Exit, Getresuid, Minus513, MinusOne, Zero};
    state_numbers(Number::ALL, |number| {
        [Getresuid, MinusOne, Minus513, Exit, Zero, Disarm].contains(&number)
    })
}

/// The states of calls that are dispatched unless the range allows them.
fn dispatched_states(layout: &Layout) -> Choices {
    let mut choices = without_allowing_ranges(narrowed_states(layout, &[1]), layout);
    choices[Axis::Number as usize] = state_numbers(Number::ALL, |_| true);
    choices[Axis::Selector as usize]
        .retain(|state| accepts(Selector::ALL, *state, |s| s == Selector::Null || s.is_memory()));
    choices
}

/// The states of calls that kill by a selector with one of these values or in unreadable memory.
fn killed_states(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = without_allowing_ranges(narrowed_states(layout, values), layout);
    choices[Axis::Selector as usize].retain(|state| {
        let never_kills =
            |s| matches!(s, Selector::Null | Selector::Kernel | Selector::LastAddress);
        accepts(Selector::ALL, *state, |s| !never_kills(s))
    });
    choices
}

/// Removes the ranges that contain the compared address, if the kernel lacks inclusive mode: in exclusive
/// mode they allow the call under test.
fn without_allowing_ranges(mut choices: Choices, layout: &Layout) -> Choices {
    choices[Axis::Span as usize].retain(|state| {
        let allows = |span| matches!(span, Span::Ip | Span::ThroughIp);
        layout.platform.has_inclusive_mode || accepts(Span::ALL, *state, |span| !allows(span))
    });
    choices
}

/// Whether `accept` accepts the state with this number.
fn accepts<T: Copy>(all: &[T], state: u8, accept: impl Fn(T) -> bool) -> bool {
    accept(all[usize::from(state)])
}

/// The available states with these values of the selector, few call numbers, and ranges and selectors that
/// the kernel accepts.
fn narrowed_states(layout: &Layout, values: &[u8]) -> Choices {
    let mut choices = available_states(layout);
    choices[Axis::Value as usize] = values.to_vec();
    choices[Axis::Mode as usize] = state_numbers(Mode::ALL, |mode| {
        mode == Mode::Exclusive || (mode == Mode::Inclusive && layout.platform.has_inclusive_mode)
    });
    choices[Axis::Span as usize] = state_numbers(Span::ALL, |span| {
        matches!(
            span,
            Span::Inside | Span::ToIp | Span::ThroughIp | Span::Ip | Span::Nothing | Span::BelowIp
        )
    });
    choices[Axis::Number as usize] = one_number_of_each_kind();
    choices[Axis::Selector as usize].retain(|state| {
        accepts(Selector::ALL, *state, |s| !matches!(s, Selector::Kernel | Selector::LastAddress))
    });
    choices
}

/// The states of [`Product::Pairs`]: fewer ranges, since [`Product::Range`] has all of them, and fewer
/// call numbers, since [`Product::Dispatched`] has all of them.
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
    let mut set_states = |axis: Axis, states: Vec<u8>| choices[axis as usize] = states;
    set_states(
        Axis::GateChoice,
        state_numbers(GateChoice::ALL, |choice| layout.gate(choice).is_some()),
    );
    set_states(Axis::Selector, state_numbers(Selector::ALL, |s| layout.selector(s).is_some()));
    set_states(
        Axis::Arming,
        state_numbers(Arming::ALL, |a| platform.has_ptrace_config || a != Arming::Tracer),
    );
    set_states(
        Axis::Task,
        state_numbers(Task::ALL, |task| platform.has_pid_namespaces || task != Task::Init),
    );
    set_states(
        Axis::Seccomp,
        state_numbers(Seccomp::ALL, |s| {
            platform.has_filters || matches!(s, Seccomp::None | Seccomp::Strict)
        }),
    );
    set_states(Axis::Rseq, state_numbers(Rseq::ALL, |r| platform.has_rseq || r == Rseq::None));
    set_states(
        Axis::Monitor,
        state_numbers(Monitor::ALL, |monitor| match monitor {
            Monitor::None => true,
            Monitor::Tracepoints => platform.has_tracepoints,
            Monitor::Audit => platform.has_audit,
        }),
    );
    set_states(
        Axis::Sysctl,
        state_numbers(Sysctl::ALL, |s| platform.has_sysctl || s == Sysctl::Permits),
    );
    choices
}
