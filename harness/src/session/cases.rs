// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs cases in one guest: sends the plan, follows the start and end of each case, and assigns
//! console output to cases.

use super::conversation::{
    Conversation, Ending, GuestSession, Handler, Limits, converse, message_name,
};
use super::kernel_log::{self, FaultReport};
use super::running_guest::{Guest, MachineFault};
use std::ops::ControlFlow;
use std::time::Duration;
use sudbox_protocol::{
    CaseResult, GuestMessage, Hello, HostMessage, Measurement, Observation, Plan, PlannedCase,
    ResultKind,
};
use sudbox_vmm::machine::MarkedOperationTrace;

/// Maximum number of log lines that are kept of one case.
const MAX_LOG_LINES: usize = 200;

/// Maximum number of bytes that are kept of the log of one case.
pub(crate) const MAX_LOG_BYTES: usize = 64 * 1024;

/// Maximum number of bytes in the messages of a case that sends its observations.
const MAX_OBSERVATION_BYTES: u64 = 64 << 20;

/// Maximum times in which a guest may make no progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// Before `Hello`: maximum time between two console outputs.
    pub(crate) boot: Duration,
    /// After `Hello`: maximum time between two messages. Longer than the deadline of a case, at
    /// which the guest itself ends the case.
    pub(crate) case: Duration,
}

/// A case that ended.
#[derive(Debug)]
pub(crate) struct EndedCase {
    pub(crate) result: CaseResult,
    pub(crate) micros: u64,
    pub(crate) log: Vec<String>,
    pub(crate) measurement: Option<Measurement>,
    /// The observations; empty if the guest does not send observations.
    pub(crate) observations: Vec<Observation>,
    /// The digest of the observations; `None` if no observation of the case is compared with
    /// recordings.
    pub(crate) digest: Option<u64>,
    /// The first fault that the kernel reported while the case ran.
    pub(crate) kernel_fault: Option<FaultReport>,
}

/// The results of the cases in one guest, and the conversation with the guest.
#[derive(Debug)]
pub(crate) struct CasesRun {
    pub(crate) hello: Option<Hello>,
    /// The cases that ended: a prefix of the plan.
    pub(crate) ended_cases: Vec<EndedCase>,
    /// Index in the plan of the case that was running when the conversation ended.
    pub(crate) running_case: Option<usize>,
    /// Log of the running case.
    pub(crate) running_case_log: Vec<String>,
    /// Whether the guest sent a correct `AllResults` message.
    pub(crate) has_all_results: bool,
    /// The instruction traces of benchmark operations; empty unless `VmSpec::trace_marked_operations`.
    pub(crate) traces: Vec<MarkedOperationTrace>,
    pub(crate) conversation: Conversation,
    /// The fault of this machine that ended the guest, if it was not the kernel's.
    pub(crate) machine_fault: Option<MachineFault>,
}

/// Runs the plan in a guest that was just started. If `records_observations`, the guest sends the
/// observations of the cases. `on_progress` gets the number of cases that have ended.
pub(crate) fn run_cases(
    guest: &mut dyn Guest,
    plan: Vec<PlannedCase>,
    records_observations: bool,
    timeouts: Timeouts,
    on_progress: &mut dyn FnMut(usize),
) -> CasesRun {
    let mut handler = CaseHandler::new(plan, records_observations, timeouts, on_progress);
    let conversation = converse(guest, Limits::with_silence_limit(timeouts.boot), &mut handler);
    handler.into_run(conversation)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The plan was sent; no case has started.
    Planned,
    /// The case with this index runs.
    Running(usize),
    /// A case ended. `Start`, `VmSpent` or `AllResults` comes next.
    BetweenCases,
    /// `AllResults` was received.
    AllResultsReceived,
}

/// Handles the messages about cases.
pub(crate) struct CaseHandler<'a> {
    plan: Vec<PlannedCase>,
    /// Whether the guest sends the observations of the cases.
    records_observations: bool,
    limits: Limits,
    on_progress: &'a mut dyn FnMut(usize),
    state: State,
    hello: Option<Hello>,
    ended_cases: Vec<EndedCase>,
    /// Log of the running case.
    log: Vec<String>,
    /// Measurement of the running case.
    measurement: Option<Measurement>,
    /// Observations of the running case.
    observations: Vec<Observation>,
    /// Digest of the observations of the running case.
    digest: Option<u64>,
}

impl<'a> CaseHandler<'a> {
    pub(crate) fn new(
        plan: Vec<PlannedCase>,
        records_observations: bool,
        timeouts: Timeouts,
        on_progress: &'a mut dyn FnMut(usize),
    ) -> Self {
        let limits = Limits::with_silence_limit(timeouts.case);
        CaseHandler {
            plan,
            records_observations,
            limits: if records_observations {
                limits.with_flood_limit(MAX_OBSERVATION_BYTES)
            } else {
                limits
            },
            on_progress,
            state: State::Planned,
            hello: None,
            ended_cases: Vec::new(),
            log: Vec::new(),
            measurement: None,
            observations: Vec::new(),
            digest: None,
        }
    }

    pub(crate) fn into_run(self, conversation: Conversation) -> CasesRun {
        CasesRun {
            hello: self.hello,
            running_case: match self.state {
                State::Running(case) => Some(case),
                _ => None,
            },
            ended_cases: self.ended_cases,
            running_case_log: self.log,
            has_all_results: self.state == State::AllResultsReceived,
            traces: Vec::new(),
            conversation,
            machine_fault: None,
        }
    }

    /// Adds lines to the log of the running case, up to the first that exceeds a limit.
    fn add_to_log(&mut self, text: &str) {
        let mut bytes: usize = self.log.iter().map(String::len).sum();
        for line in text.lines() {
            bytes += line.len();
            if self.log.len() == MAX_LOG_LINES || bytes > MAX_LOG_BYTES {
                return;
            }
            self.log.push(line.to_owned());
        }
    }

    /// Scans the console output of the last case for faults. The guest waits during the scan, so
    /// all output so far belongs to the last case. Ends the conversation after a fault that
    /// invalidates later results.
    fn close_case(&mut self, session: &mut GuestSession<'_>) -> ControlFlow<Ending> {
        let (Some(report), Some(last_case)) =
            (kernel_log::scan(&session.take_console()), self.ended_cases.last_mut())
        else {
            return ControlFlow::Continue(());
        };
        let invalidates_later_cases = report.invalidates_later_cases();
        last_case.kernel_fault = Some(report);
        if invalidates_later_cases {
            ControlFlow::Break(Ending::Finished)
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Handler for CaseHandler<'_> {
    fn on_hello(&mut self, session: &mut GuestSession<'_>, hello: Hello) {
        self.hello = Some(hello);
        session.take_console();
        session.begin_phase(self.limits);
        let plan = Plan { cases: self.plan.clone() };
        session.send(&match self.records_observations {
            true => HostMessage::Record(plan),
            false => HostMessage::Plan(plan),
        });
    }

    fn on_message(
        &mut self,
        session: &mut GuestSession<'_>,
        message: GuestMessage,
    ) -> ControlFlow<Ending> {
        let protocol_error = |error: String| ControlFlow::Break(Ending::ProtocolError(error));
        match (self.state, message) {
            (State::Planned | State::BetweenCases, GuestMessage::Start { case })
                if case as usize == self.ended_cases.len()
                    && self.ended_cases.len() < self.plan.len() =>
            {
                self.close_case(session)?;
                self.state = State::Running(case as usize);
                session.begin_phase(self.limits);
                session.send(&HostMessage::Go { case });
            }
            (State::Running(running), GuestMessage::Log { case, text })
                if case as usize == running =>
            {
                self.add_to_log(&text);
            }
            (State::Running(running), GuestMessage::Measured { case, measurement })
                if case as usize == running =>
            {
                self.measurement = Some(measurement);
            }
            (State::Running(running), GuestMessage::Observed { case, observation })
                if case as usize == running && self.records_observations =>
            {
                self.observations.push(observation);
            }
            (State::Running(running), GuestMessage::ObservationDigest { case, digest })
                if case as usize == running =>
            {
                self.digest = Some(digest);
            }
            (State::Running(running), GuestMessage::End { case, result, micros })
                if case as usize == running =>
            {
                let log = std::mem::take(&mut self.log);
                let measurement = self.measurement.take();
                let observations = std::mem::take(&mut self.observations);
                self.ended_cases.push(EndedCase {
                    result,
                    micros,
                    log,
                    measurement,
                    observations,
                    digest: self.digest.take(),
                    kernel_fault: None,
                });
                self.state = State::BetweenCases;
            }
            (State::BetweenCases, GuestMessage::VmSpent { case })
                if case as usize + 1 == self.ended_cases.len() =>
            {
                self.close_case(session)?;
                return ControlFlow::Break(Ending::Finished);
            }
            (State::BetweenCases | State::Planned, GuestMessage::AllResults(result_kinds)) => {
                self.close_case(session)?;
                let reported_kinds: Vec<ResultKind> =
                    self.ended_cases.iter().map(|case| case.result.kind()).collect();
                if result_kinds != reported_kinds || reported_kinds.len() != self.plan.len() {
                    return protocol_error(
                        "its AllResults message differs from its End messages".into(),
                    );
                }
                self.state = State::AllResultsReceived;
                // The host has all results already, so a failed send does no harm.
                session.send(&HostMessage::Acknowledge);
                return ControlFlow::Break(Ending::Finished);
            }
            (state, message) => {
                return protocol_error(format!("{} in state {state:?}", message_name(&message)));
            }
        }
        (self.on_progress)(self.ended_cases.len());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
