// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The model of threads side by side: finds an order of their actions that explains the observed events.
//!
//! Every action that touches the state that the threads share is a transition: a store to a selector byte, the
//! kernel's read of a selector byte, the check of the filters, the effect of a call, the delivery of a signal.
//! The transitions of one thread keep their order; those of different threads may have any order. A search
//! through these orders explains all events, or returns the event at which the longest explanation ends.

use super::call_model::{
    CallModel, Effect, FilterChain, ModelledCall, SelectorBytes, SigsysReason, deliver_sigsys,
    error_result, filter_action,
};
use super::event::{Event, EventKind, TSYNC_REFUSED};
use super::operations::{
    Call, CallSite, Disposition, FilterAction, MAX_LANES, Operation, Step, lane_steps,
};
use crate::oracle::{Config, Decision};
use std::collections::HashSet;

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

/// The way in which the threads end.
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
    /// If an order of transitions explains all observed events, those events. Otherwise the observed events
    /// before the first unexplained one, then the event that the model expects in its place.
    pub(super) events: Vec<Event>,
    pub(super) ending: Ending,
}

/// Predicts the events of threads side by side. `observed` has the observed events from the start of the
/// threads on, and the kernel's release. Without `observed`, the threads run one after the other.
pub(super) fn predict(
    call_model: CallModel<'_>,
    step: &Step,
    body: &[Step],
    start: Start,
    observed: Option<(&[Event], (u32, u32))>,
) -> Outcome {
    let lanes: Vec<&[Step]> = body.iter().take(MAX_LANES).map(lane_steps).collect();
    let (events, release) = observed.unwrap_or_default();
    let last = last_number(step);
    let is_of_step = |event: &&Event| (step.number..=last).contains(&event.step);
    let count = events.iter().take_while(is_of_step).count();
    let (events, later_events) = events.split_at(count);
    let lane_events = |steps: &[Step]| {
        let numbers: Vec<u16> = steps.iter().map(|step| step.number).collect();
        events.iter().copied().filter(|event| numbers.contains(&event.step)).collect()
    };
    let lanes: Vec<Lane<'_>> =
        lanes.into_iter().map(|steps| Lane { steps, observed: lane_events(steps) }).collect();
    let state = State {
        threads: vec![Thread::new(&start); lanes.len()],
        bytes: start.bytes,
        umask: start.umask,
        disposition: start.disposition,
        filters_of_all_threads: None,
    };
    let installs_filter = lanes
        .iter()
        .flat_map(|lane| lane.steps)
        .any(|step| matches!(step.operation, Operation::InstallFilter { .. }));
    let search = Search { call_model, lanes, installs_filter, release };
    if observed.is_none() {
        return search.run_in_turn(state);
    }
    // If a signal killed the process, the next event names it. The last events of the threads may be missing.
    let signal = match later_events.first() {
        Some(Event { kind: EventKind::Killed(signal), .. }) => Some(*signal),
        _ => None,
    };
    let lane_event_count = search.lanes.iter().map(|lane| lane.observed.len()).sum::<usize>();
    match search.explain(state, signal) {
        Ok(ending) if lane_event_count == events.len() => {
            Outcome { events: events.to_vec(), ending }
        }
        // An event belongs to no step of the threads, which the model never predicts.
        Ok(ending) => Outcome { events: Vec::new(), ending },
        Err(Unexplained { expected, instead_of, .. }) => {
            // The prediction differs from the observation only from the unexplained event on.
            let end = instead_of.and_then(|event| events.iter().position(|other| *other == event));
            let mut events = events[..end.unwrap_or(events.len())].to_vec();
            events.extend(expected);
            let ending = Ending::Completed { filters_of_all_threads: None };
            Outcome { events, ending }
        }
    }
}

/// The number of the last step within a step; the step's own number if it contains none.
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
    /// The call was not dispatched. `had_filters` tells whether the thread had filters when the call began.
    Filter { had_filters: bool },
    /// No filter acts on the call.
    Execute,
    /// A SIGSYS is to be delivered.
    Signal(SigsysReason),
    /// The call returns after a SIGSYS.
    Return,
}

/// The state of a thread.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Thread {
    /// The index of the current step.
    step_index: usize,
    phase: Phase,
    /// The number of signals of the current call.
    signals: u8,
    config: Config,
    sigsys_blocked: bool,
    chain: FilterChain,
    /// The number of observed events of the thread that are explained.
    explained: usize,
    /// Whether an event of the thread was not observed, because the process was killed before the thread
    /// could record the event.
    has_lost_event: bool,
    /// The signal by which the thread killed the process.
    fatal_signal: Option<i32>,
    /// Whether a filter of the thread killed the process.
    filter_killed: bool,
}

impl Thread {
    fn new(start: &Start) -> Thread {
        Thread {
            step_index: 0,
            phase: Phase::Begin,
            signals: 0,
            config: Config::default(),
            sigsys_blocked: start.sigsys_blocked,
            chain: start.chain.clone(),
            explained: 0,
            has_lost_event: false,
            fatal_signal: None,
            filter_killed: false,
        }
    }

    /// Moves the thread to its next step.
    fn next_step(&mut self) {
        (self.step_index, self.phase, self.signals) = (self.step_index + 1, Phase::Begin, 0);
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

/// A transition: the resulting state, and the event that the transition causes.
type Transition = (State, Option<EventKind>);

/// The event at which the longest explanation ends.
#[derive(Default)]
struct Unexplained {
    /// The number of events that are explained.
    explained: usize,
    /// The event that the model expects next.
    expected: Option<Event>,
    /// The event that was observed in place of `expected`; `None` if no further event was observed.
    instead_of: Option<Event>,
}

impl Unexplained {
    /// Replaces this explanation by a longer one. An explanation that ends at an observed event is preferred to
    /// one that ends at a missing event.
    fn keep_longer(&mut self, explained: usize, expected: Event, instead_of: Option<Event>) {
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
    call_model: CallModel<'a>,
    lanes: Vec<Lane<'a>>,
    /// Whether a thread installs a filter.
    installs_filter: bool,
    /// The kernel's release.
    release: (u32, u32),
}

impl Search<'_> {
    /// Runs each thread to its end before the next.
    fn run_in_turn(&self, mut state: State) -> Outcome {
        let mut events = Vec::new();
        for lane in 0..self.lanes.len() {
            while let Some((next, kind)) = self.transitions(&state, lane).into_iter().next() {
                let step = self.lanes[lane].steps[state.threads[lane].step_index].number;
                events.extend(kind.map(|kind| Event { step, kind }));
                state = next;
            }
            if let Some(signal) = state.threads[lane].fatal_signal {
                return Outcome { events, ending: Ending::Killed(signal) };
            }
        }
        let filters_of_all_threads = state.filters_of_all_threads;
        Outcome { events, ending: Ending::Completed { filters_of_all_threads } }
    }

    /// Searches an order that explains all observed events. If threads can kill the process by several
    /// signals, prefers `signal`.
    fn explain(&self, start: State, signal: Option<i32>) -> Result<Ending, Unexplained> {
        let mut visited = HashSet::new();
        let mut unvisited = vec![start];
        let mut other_signal = None;
        let mut longest = Unexplained::default();
        while let Some(state) = unvisited.pop() {
            if !visited.insert(state.clone()) {
                continue;
            }
            let explained: usize = state.threads.iter().map(|thread| thread.explained).sum();
            let all_explained =
                state.threads.iter().zip(&self.lanes).all(|(t, l)| t.explained == l.observed.len());
            if all_explained {
                let signals = state.threads.iter().filter_map(|thread| thread.fatal_signal);
                for fatal_signal in signals {
                    if signal.is_none_or(|signal| signal == fatal_signal) {
                        return Ok(Ending::Killed(fatal_signal));
                    }
                    other_signal = Some(fatal_signal);
                }
                let is_complete = state.threads.iter().zip(&self.lanes).all(|(t, l)| {
                    t.step_index == l.steps.len() && !t.has_lost_event && t.fatal_signal.is_none()
                });
                if is_complete {
                    let filters_of_all_threads = state.filters_of_all_threads;
                    return Ok(Ending::Completed { filters_of_all_threads });
                }
            }
            for lane in self.lanes_to_try(&state) {
                for (mut next, kind) in self.transitions(&state, lane) {
                    if let Some(kind) = kind {
                        let step = self.lanes[lane].steps[state.threads[lane].step_index].number;
                        let expected = Event { step, kind };
                        let observed = self.lanes[lane].observed.get(next.threads[lane].explained);
                        let agrees =
                            observed.is_none_or(|event| expected.allows(event, self.release));
                        if observed.is_none() || !agrees {
                            longest.keep_longer(explained, expected, observed.copied());
                        }
                        match observed {
                            Some(_) if !agrees => continue,
                            Some(_) => next.threads[lane].explained += 1,
                            None => next.threads[lane].has_lost_event = true,
                        }
                    }
                    unvisited.push(next);
                }
            }
        }
        other_signal.map(Ending::Killed).ok_or(longest)
    }

    /// The threads whose transitions must be tried. If the next transition of a thread touches nothing that is
    /// shared, only that thread is tried: the order of this transition makes no difference.
    fn lanes_to_try(&self, state: &State) -> std::ops::Range<usize> {
        let private = (0..self.lanes.len()).find(|lane| self.is_next_private(state, *lane));
        private.map_or(0..self.lanes.len(), |lane| lane..lane + 1)
    }

    /// Whether the next transition of a thread touches nothing that is shared.
    fn is_next_private(&self, state: &State, lane: usize) -> bool {
        let thread = &state.threads[lane];
        let Some(step) = self.lanes[lane].steps.get(thread.step_index) else { return false };
        if thread.fatal_signal.is_some() {
            return false;
        }
        let is_unfiltered = thread.chain.is_empty() && !self.installs_filter;
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
        let Some(step) = self.lanes[lane].steps.get(thread.step_index) else { return Vec::new() };
        if thread.fatal_signal.is_some() {
            return Vec::new();
        }
        let mut next = state.clone();
        let own = &mut next.threads[lane];
        match &step.operation {
            Operation::Call { site, call, reissues, .. } => {
                let call = self.call_model.call(*site, call.permitted(false));
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
                let returned =
                    |result| Some(EventKind::Returned { result, others_preserved: true });
                // seccomp_can_sync_threads() refuses while a thread whose filter killed the process
                // (`SECCOMP_MODE_DEAD`) has not exited.
                let can_be_refused =
                    *for_all_threads && state.threads.iter().any(|thread| thread.filter_killed);
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
            state.threads[lane].fatal_signal = Some(signal);
            vec![(state, None)]
        };
        match own.phase {
            Phase::Begin if call.site == CallSite::Inside => own.phase = Phase::Execute,
            Phase::Begin => {
                own.phase = match self.call_model.decide(&own.config, call.address, &state.bytes) {
                    Decision::Kill(signal) => return kill(next, signal),
                    Decision::Dispatch => Phase::Signal(SigsysReason::Dispatch),
                    Decision::Pass => Phase::Filter { had_filters: !own.chain.is_empty() },
                }
            }
            Phase::Filter { had_filters } => {
                own.phase = match filter_action(&own.chain, call.site) {
                    Some(FilterAction::Kill) => {
                        own.filter_killed = true;
                        let mut transitions = kill(next.clone(), libc::SIGSYS);
                        transitions.extend(self.skip_filters(state.clone(), lane, had_filters));
                        return transitions;
                    }
                    Some(FilterAction::Errno(errno)) => {
                        own.next_step();
                        let result = error_result(errno.into());
                        let returned = EventKind::Returned { result, others_preserved: true };
                        let mut transitions = vec![(next, Some(returned))];
                        transitions.extend(self.skip_filters(state.clone(), lane, had_filters));
                        return transitions;
                    }
                    Some(FilterAction::Trap(data)) => Phase::Signal(SigsysReason::Filter(data)),
                    None => Phase::Execute,
                };
                let mut transitions = vec![(next, None)];
                transitions.extend(self.skip_filters(state.clone(), lane, had_filters));
                return transitions;
            }
            Phase::Execute => {
                let State { threads, umask, .. } = &mut next;
                let own = &mut threads[lane];
                let Effect::Returns(result) = self.call_model.execute(call, &mut own.config, umask)
                else {
                    return Vec::new();
                };
                own.next_step();
                return vec![(next, Some(EventKind::Returned { result, others_preserved: true }))];
            }
            Phase::Signal(reason) => {
                let is_blocked = own.sigsys_blocked;
                if !deliver_sigsys(&mut next.disposition, is_blocked) {
                    return kill(next, libc::SIGSYS);
                }
                let own = &mut next.threads[lane];
                own.signals += 1;
                own.phase = if reissues && own.signals == 1 { Phase::Begin } else { Phase::Return };
                return vec![(next, Some(self.call_model.sigsys(call, reason, call.address)))];
            }
            Phase::Return => {
                own.next_step();
                let result = call.result_after_rollback;
                return vec![(next, Some(EventKind::Returned { result, others_preserved: true }))];
            }
        }
        vec![(next, None)]
    }

    /// The transition past the filters, for a thread that had no filters when its call began. The kernel may
    /// decide at the start of the call that there are no filters to run (`syscall_trace_enter()`).
    fn skip_filters(&self, mut state: State, lane: usize, had_filters: bool) -> Option<Transition> {
        if had_filters {
            return None;
        }
        state.threads[lane].phase = Phase::Execute;
        Some((state, None))
    }
}
