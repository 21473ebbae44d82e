// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The model of threads side by side: finds an order of their actions that explains the observed events.
//!
//! Every action that touches what the threads share is a transition by itself: a store to a selector byte, the
//! kernel's read of one, the check of the filters, the effect of a call, the delivery of a signal. All
//! orders of transitions are allowed that keep the order within each thread. A search through these
//! orders either explains all events, or gives the event at which the longest explanation ends.

use super::call_model::{
    CallModel, Effect, FilterChain, ModelledCall, SelectorBytes, SigsysReason, deliver_sigsys,
    failed, filter_action,
};
use super::event::{Event, EventKind};
use super::lanes::MAX_LANES;
use super::operations::{Call, CallSite, Disposition, FilterAction, NewTask, Operation, Step};
use crate::oracle::{Config, Decision};
use std::collections::HashSet;

/// The recorded result of `seccomp(2)` with `SECCOMP_FILTER_FLAG_TSYNC` if a thread cannot get the filter. The
/// kernel returns the id of that thread.
pub(super) const TSYNC_REFUSED: u64 = 1;

/// The state at the start of the threads.
pub(super) struct Start {
    pub(super) bytes: SelectorBytes,
    pub(super) umask: u64,
    pub(super) disposition: Disposition,
    /// Whether SIGSYS is blocked in the threads.
    pub(super) sigsys_blocked: bool,
    /// The filters of each thread.
    pub(super) chain: FilterChain,
}

/// The end of the threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All threads ended.
    Completed {
        /// The filters of all threads of the process, if a thread has set them.
        filters_of_all_threads: Option<FilterChain>,
    },
    /// This signal killed the process.
    Killed(i32),
}

/// The predicted events and the end.
pub(super) struct Outcome {
    /// The observed events in their order if an order of actions explains them. Otherwise those before the first
    /// unexplained one, and the event that was expected instead.
    pub(super) events: Vec<Event>,
    pub(super) ending: Ending,
}

/// Predicts the events of threads side by side. `observed` are the observed events from the start of the
/// threads on, and the kernel's release; without them the threads run in turn.
pub(super) fn predict(
    calls: CallModel<'_>,
    step: &Step,
    body: &[Step],
    start: Start,
    observed: Option<(&[Event], (u32, u32))>,
) -> Outcome {
    let lanes: Vec<&[Step]> = body.iter().take(MAX_LANES).map(lane_steps).collect();
    let (events, release) = observed.unwrap_or_default();
    let last = last_number(step);
    let is_inside = |event: &&Event| (step.number..=last).contains(&event.step);
    let count = events.iter().take_while(is_inside).count();
    let (events, after) = events.split_at(count);
    let of_lane = |steps: &[Step]| {
        let numbers: Vec<u16> = steps.iter().map(|step| step.number).collect();
        events.iter().copied().filter(|event| numbers.contains(&event.step)).collect()
    };
    let lanes: Vec<Lane<'_>> =
        lanes.into_iter().map(|steps| Lane { steps, observed: of_lane(steps) }).collect();
    let state = State {
        threads: vec![Thread::new(&start); lanes.len()],
        bytes: start.bytes,
        umask: start.umask,
        disposition: start.disposition,
        filters_of_all_threads: None,
    };
    let has_filters = lanes
        .iter()
        .flat_map(|lane| lane.steps)
        .any(|step| matches!(step.operation, Operation::InstallFilter { .. }));
    let search = Search { calls, lanes, has_filters, release };
    if observed.is_none() {
        return search.run_in_turn(state);
    }
    // A process that is killed leaves events away, and this signal is seen next.
    let signal = match after.first() {
        Some(Event { kind: EventKind::Killed(signal), .. }) => Some(*signal),
        _ => None,
    };
    let known = search.lanes.iter().map(|lane| lane.observed.len()).sum::<usize>();
    match search.explain(state, signal) {
        Ok(ending) if known == events.len() => Outcome { events: events.to_vec(), ending },
        Ok(ending) => Outcome { events: Vec::new(), ending },
        Err(Unexplained { expected, instead_of, .. }) => {
            // The events in front of the one that is not explained are taken as they were seen.
            let at = instead_of.and_then(|event| events.iter().position(|other| *other == event));
            let mut events = events[..at.unwrap_or(events.len())].to_vec();
            events.extend(expected);
            let ending = Ending::Completed { filters_of_all_threads: None };
            Outcome { events, ending }
        }
    }
}

/// The steps that a thread executes for a step of [`Operation::AtOnce`].
pub(super) fn lane_steps(step: &Step) -> &[Step] {
    match &step.operation {
        Operation::StartTask(NewTask::Thread, steps) => steps,
        _ => std::slice::from_ref(step),
    }
}

/// The number of the last step within a step.
fn last_number(step: &Step) -> u16 {
    step.body().last().map_or(step.number, last_number)
}

/// The steps of one thread, and its observed events.
struct Lane<'a> {
    steps: &'a [Step],
    observed: Vec<Event>,
}

/// The progress of a thread in its current step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The step, or its call when it is issued again, begins.
    Begin,
    /// The call was not dispatched. `has_filters` tells whether the thread had filters when the call began.
    Filter { has_filters: bool },
    /// No filter acts on the call.
    Execute,
    /// A SIGSYS is to be delivered.
    Signal(SigsysReason),
    /// The call returns without effect.
    Return,
}

/// The state of a thread.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Thread {
    /// The index of the current step.
    at: usize,
    phase: Phase,
    /// The number of signals of the current call.
    signals: u8,
    config: Config,
    sigsys_blocked: bool,
    chain: FilterChain,
    /// The number of observed events that are explained.
    explained: usize,
    /// Whether an event was not observed: the process was killed before the thread could record it.
    is_cut: bool,
    /// The signal by which the thread killed the process.
    killed_by: Option<i32>,
    /// Whether a filter of the thread killed the process.
    is_killed_by_filter: bool,
}

impl Thread {
    fn new(start: &Start) -> Thread {
        Thread {
            at: 0,
            phase: Phase::Begin,
            signals: 0,
            config: Config::default(),
            sigsys_blocked: start.sigsys_blocked,
            chain: start.chain.clone(),
            explained: 0,
            is_cut: false,
            killed_by: None,
            is_killed_by_filter: false,
        }
    }

    /// Goes on to the next step.
    fn next_step(&mut self) {
        (self.at, self.phase, self.signals) = (self.at + 1, Phase::Begin, 0);
    }
}

/// The state of all threads.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    threads: Vec<Thread>,
    bytes: SelectorBytes,
    umask: u64,
    disposition: Disposition,
    filters_of_all_threads: Option<FilterChain>,
}

/// A transition: the state after it, and the event that it causes.
type Transition = (State, Option<EventKind>);

/// The event at which the longest explanation ends.
#[derive(Default)]
struct Unexplained {
    /// The number of events that are explained.
    explained: usize,
    expected: Option<Event>,
    /// The observed event; `None` if events are missing.
    instead_of: Option<Event>,
}

impl Unexplained {
    /// Keeps the longer explanation. One that ends at an observed event counts before one that ends at a
    /// missing event.
    fn add(&mut self, explained: usize, expected: Event, instead_of: Option<Event>) {
        let rank = |has_event: bool, explained| (has_event, explained);
        let is_better = self.expected.is_none()
            || rank(instead_of.is_some(), explained)
                > rank(self.instead_of.is_some(), self.explained);
        if is_better {
            *self = Unexplained { explained, expected: Some(expected), instead_of };
        }
    }
}

struct Search<'a> {
    calls: CallModel<'a>,
    lanes: Vec<Lane<'a>>,
    /// Whether a thread installs a filter.
    has_filters: bool,
    release: (u32, u32),
}

impl Search<'_> {
    /// Runs each thread to its end before the next.
    fn run_in_turn(&self, mut state: State) -> Outcome {
        let mut events = Vec::new();
        for lane in 0..self.lanes.len() {
            while let Some((next, kind)) = self.transitions(&state, lane).into_iter().next() {
                let step = self.lanes[lane].steps[state.threads[lane].at].number;
                events.extend(kind.map(|kind| Event { step, kind }));
                state = next;
            }
            if let Some(signal) = state.threads[lane].killed_by {
                return Outcome { events, ending: Ending::Killed(signal) };
            }
        }
        let filters_of_all_threads = state.filters_of_all_threads;
        Outcome { events, ending: Ending::Completed { filters_of_all_threads } }
    }

    /// Searches an order that explains all observed events. If threads can kill the process by several
    /// signals, prefers `signal`.
    fn explain(&self, start: State, signal: Option<i32>) -> Result<Ending, Unexplained> {
        let mut seen = HashSet::new();
        let mut open = vec![start];
        let mut killed = None;
        let mut furthest = Unexplained::default();
        while let Some(state) = open.pop() {
            if !seen.insert(state.clone()) {
                continue;
            }
            let explained: usize = state.threads.iter().map(|thread| thread.explained).sum();
            let all_explained =
                state.threads.iter().zip(&self.lanes).all(|(t, l)| t.explained == l.observed.len());
            if all_explained {
                let signals = state.threads.iter().filter_map(|thread| thread.killed_by);
                for found in signals {
                    if signal.is_none_or(|signal| signal == found) {
                        return Ok(Ending::Killed(found));
                    }
                    killed = Some(found);
                }
                let is_complete = state
                    .threads
                    .iter()
                    .zip(&self.lanes)
                    .all(|(t, l)| t.at == l.steps.len() && !t.is_cut && t.killed_by.is_none());
                if is_complete {
                    let filters_of_all_threads = state.filters_of_all_threads;
                    return Ok(Ending::Completed { filters_of_all_threads });
                }
            }
            for lane in self.lanes_to_try(&state) {
                for (mut next, kind) in self.transitions(&state, lane) {
                    if let Some(kind) = kind {
                        let step = self.lanes[lane].steps[state.threads[lane].at].number;
                        let expected = Event { step, kind };
                        let observed = self.lanes[lane].observed.get(next.threads[lane].explained);
                        let agrees =
                            observed.is_none_or(|event| expected.allows(event, self.release));
                        if observed.is_none() || !agrees {
                            furthest.add(explained, expected, observed.copied());
                        }
                        match observed {
                            Some(_) if !agrees => continue,
                            Some(_) => next.threads[lane].explained += 1,
                            None => next.threads[lane].is_cut = true,
                        }
                    }
                    open.push(next);
                }
            }
        }
        killed.map(Ending::Killed).ok_or(furthest)
    }

    /// The threads whose transitions must be tried. A transition that touches nothing shared need not be
    /// tried in other orders.
    fn lanes_to_try(&self, state: &State) -> std::ops::Range<usize> {
        let private = (0..self.lanes.len()).find(|lane| self.is_next_private(state, *lane));
        private.map_or(0..self.lanes.len(), |lane| lane..lane + 1)
    }

    /// Whether the next transition of a thread touches nothing that is shared.
    fn is_next_private(&self, state: &State, lane: usize) -> bool {
        let thread = &state.threads[lane];
        let Some(step) = self.lanes[lane].steps.get(thread.at) else { return false };
        if thread.killed_by.is_some() {
            return false;
        }
        let is_unfiltered = thread.chain.is_empty() && !self.has_filters;
        match (&step.operation, thread.phase) {
            (Operation::Flip { .. } | Operation::InstallFilter { .. }, _) => false,
            (Operation::Call { site: CallSite::Inside, call: Call::Prctl(_), .. }, _)
            | (Operation::Call { .. }, Phase::Return) => true,
            (Operation::Call { .. }, Phase::Begin) => is_unfiltered && thread.config.mode == 0,
            (Operation::Call { .. }, Phase::Filter { .. }) => is_unfiltered,
            (Operation::Call { .. }, _) => false,
            _ => true,
        }
    }

    /// The transitions of a thread in a state.
    fn transitions(&self, state: &State, lane: usize) -> Vec<Transition> {
        let thread = &state.threads[lane];
        let Some(step) = self.lanes[lane].steps.get(thread.at) else { return Vec::new() };
        if thread.killed_by.is_some() {
            return Vec::new();
        }
        let mut next = state.clone();
        let own = &mut next.threads[lane];
        match &step.operation {
            Operation::Call { site, call, reissues, .. } => {
                let call = self.calls.call(*site, call.permitted(false));
                return self.call_transitions(state, lane, &call, *reissues);
            }
            Operation::Flip { byte, value } => next.bytes[*byte] = *value,
            Operation::SetSigsysBlocked(blocked) => own.sigsys_blocked = *blocked,
            Operation::InstallFilter { filter, for_all_threads } => {
                own.chain.push((step.number, *filter));
                if *for_all_threads {
                    let chain = own.chain.clone();
                    for thread in &mut next.threads {
                        thread.chain.clone_from(&chain);
                    }
                    next.filters_of_all_threads = Some(chain);
                }
                next.threads[lane].next_step();
                let returned = |result| Some(EventKind::Returned { result, preserved: true });
                // seccomp_can_sync_threads() refuses while a thread whose filter killed the process
                // (`SECCOMP_MODE_DEAD`) has not exited.
                let can_be_refused = *for_all_threads
                    && state.threads.iter().any(|thread| thread.is_killed_by_filter);
                let refused = can_be_refused.then(|| {
                    let mut state = state.clone();
                    state.threads[lane].next_step();
                    (state, returned(TSYNC_REFUSED))
                });
                return std::iter::once((next, returned(0))).chain(refused).collect();
            }
            _ => {}
        }
        next.threads[lane].next_step();
        vec![(next, None)]
    }

    /// The transitions of a thread at a call.
    fn call_transitions(
        &self,
        state: &State,
        lane: usize,
        call: &ModelledCall,
        reissues: bool,
    ) -> Vec<Transition> {
        let mut next = state.clone();
        let own = &mut next.threads[lane];
        let kill = |mut state: State, signal| {
            state.threads[lane].killed_by = Some(signal);
            vec![(state, None)]
        };
        match own.phase {
            Phase::Begin if call.site == CallSite::Inside => own.phase = Phase::Execute,
            Phase::Begin => {
                own.phase = match self.calls.decide(&own.config, call.address, &state.bytes) {
                    Decision::Kill(signal) => return kill(next, signal),
                    Decision::Dispatch => Phase::Signal(SigsysReason::Dispatch),
                    Decision::Pass => Phase::Filter { has_filters: !own.chain.is_empty() },
                }
            }
            Phase::Filter { has_filters } => {
                own.phase = match filter_action(&own.chain, call.site) {
                    Some(FilterAction::Kill) => {
                        own.is_killed_by_filter = true;
                        let mut ways = kill(next.clone(), libc::SIGSYS);
                        ways.extend(self.unfiltered(state.clone(), lane, has_filters));
                        return ways;
                    }
                    Some(FilterAction::Errno(errno)) => {
                        own.next_step();
                        let result = failed(errno.into());
                        let returned = EventKind::Returned { result, preserved: true };
                        let mut ways = vec![(next, Some(returned))];
                        ways.extend(self.unfiltered(state.clone(), lane, has_filters));
                        return ways;
                    }
                    Some(FilterAction::Trap(data)) => Phase::Signal(SigsysReason::Filter(data)),
                    None => Phase::Execute,
                };
                let mut ways = vec![(next, None)];
                ways.extend(self.unfiltered(state.clone(), lane, has_filters));
                return ways;
            }
            Phase::Execute => {
                let State { threads, umask, .. } = &mut next;
                let own = &mut threads[lane];
                let Effect::Returns(result) = self.calls.execute(call, &mut own.config, umask)
                else {
                    return Vec::new();
                };
                own.next_step();
                return vec![(next, Some(EventKind::Returned { result, preserved: true }))];
            }
            Phase::Signal(reason) => {
                let is_blocked = own.sigsys_blocked;
                if !deliver_sigsys(&mut next.disposition, is_blocked) {
                    return kill(next, libc::SIGSYS);
                }
                let own = &mut next.threads[lane];
                own.signals += 1;
                own.phase = if reissues && own.signals == 1 { Phase::Begin } else { Phase::Return };
                return vec![(next, Some(self.calls.sigsys(call, reason, call.address)))];
            }
            Phase::Return => {
                own.next_step();
                let result = call.rolled_back;
                return vec![(next, Some(EventKind::Returned { result, preserved: true }))];
            }
        }
        vec![(next, None)]
    }

    /// The transition past the filters of a thread that had none when its call began. The kernel may decide at
    /// the start of a call whether it has filters to ask (`syscall_trace_enter()`).
    fn unfiltered(&self, mut state: State, lane: usize, has_filters: bool) -> Option<Transition> {
        if has_filters {
            return None;
        }
        state.threads[lane].phase = Phase::Execute;
        Some((state, None))
    }
}
