// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The protocol with one guest, from its start to its end.
//!
//! [`GuestSession`] reads frames, enforces time and flood limits, checks the protocol version, and
//! finds on the console the reason why guest-init gave up. A [`Handler`] interprets the messages.
//! The module `cases` has a handler for cases, the module `program` one for a program.

use super::kernel_log;
use super::running_guest::Guest;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use sudbox_protocol::{FrameReader, GuestMessage, Hello, HostMessage};
use sudbox_report::text;
use sudbox_vmm::machine::VmEnd;
use sudbox_vmm::session::Event;

/// Maximum number of bytes that a guest may print, or send in messages, during its boot or one
/// case. The whole log of a debug kernel is a tenth of this limit.
pub(crate) const FLOOD_LIMIT: u64 = 4 << 20;

/// Time in which a guest that closed its stream may still print the reason for its end.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Ratio of the total limit of a boot or a case to its silence limit.
pub(crate) const TOTAL_LIMIT_FACTOR: u32 = 10;

/// Maximum time of sending a message to the guest.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// Limits of one phase of a conversation: the boot, a case, a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Maximum time without progress: a message, or console output before `Hello`.
    silence_limit: Duration,
    /// Maximum time of the whole phase.
    total_limit: Duration,
    /// Maximum number of bytes on the console, and of bytes in messages; `None` if neither is
    /// limited.
    flood_limit: Option<u64>,
}

impl Limits {
    /// Limits of a boot or a case: `silence_limit` without progress, and [`TOTAL_LIMIT_FACTOR`]
    /// times as long in all.
    pub(crate) fn with_silence_limit(silence_limit: Duration) -> Limits {
        Limits {
            silence_limit,
            total_limit: silence_limit * TOTAL_LIMIT_FACTOR,
            flood_limit: Some(FLOOD_LIMIT),
        }
    }

    /// The same limits with `bytes` as the flood limit.
    pub(crate) fn with_flood_limit(self, bytes: u64) -> Limits {
        Limits { flood_limit: Some(bytes), ..self }
    }

    /// Limits of a program, which may be silent or print without limit for `total_limit`.
    pub(crate) fn with_total_limit(total_limit: Duration) -> Limits {
        Limits { silence_limit: total_limit, total_limit, flood_limit: None }
    }
}

/// The end of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The handler received every message that it waits for.
    Finished,
    /// The guest closed its stream, or its VM ended.
    Died,
    /// The guest made no progress within the limit.
    Stalled,
    /// The guest printed or sent more bytes than the flood limit, or made progress until the total
    /// limit.
    Flooded(Flood),
    /// The guest broke the protocol. The text describes the error.
    ProtocolError(String),
    /// guest-init printed on the console why it cannot go on.
    InitFailed(InitError),
    /// A signal interrupted sudbox.
    Interrupted,
}

/// The channel that the guest flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// The console.
    Console,
    /// The message stream.
    Messages,
}

/// The reason why guest-init gave up, as it printed on the console.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InitError {
    /// guest-init cannot reach the host over vsock.
    NoHost(String),
    /// Any other problem.
    Problem(String),
}

/// Handles the messages of a guest.
pub(crate) trait Handler {
    /// Called at `Hello`, the first message of the guest. Sends the answer and begins the next
    /// phase.
    fn on_hello(&mut self, session: &mut GuestSession<'_>, hello: Hello);

    /// Called at every later message. `Break` ends the conversation.
    fn on_message(
        &mut self,
        session: &mut GuestSession<'_>,
        message: GuestMessage,
    ) -> ControlFlow<Ending>;

    /// A descriptor that ends the wait for the guest when it is readable.
    fn wake_descriptor(&self) -> Option<BorrowedFd<'_>> {
        crate::interrupt::descriptor()
    }

    /// Called when [`Handler::wake_descriptor`] is readable.
    fn on_wake(&mut self, _session: &mut GuestSession<'_>) -> ControlFlow<Ending> {
        ControlFlow::Break(Ending::Interrupted)
    }
}

/// The result of a finished conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) ending: Ending,
    /// Whether the guest sent `Hello`.
    pub(crate) hello_received: bool,
    /// Console output that the handler has not taken: the output of the boot, or of the case that
    /// was running.
    pub(crate) console: String,
    /// The silence limit of the last phase.
    pub(crate) silence_limit: Duration,
    /// The end of the VM; `None` while the VM runs, or if the guest is a process of the host.
    pub(crate) vm_end: Option<VmEnd>,
    /// The state of each vCPU of a VM that stalled, one line for each.
    pub(crate) vcpu_states: Vec<String>,
}

impl Conversation {
    /// The reason why the conversation ended, as one printable line. A fault that the kernel
    /// reported takes precedence over the other reasons.
    pub(crate) fn cause(&self) -> String {
        text::escaped_line(&self.raw_cause())
    }

    fn raw_cause(&self) -> String {
        if let Some(fault) = kernel_log::scan(&self.console) {
            return fault.headline;
        }
        match (&self.ending, &self.vm_end) {
            (_, Some(VmEnd::Panic(line))) => line.clone(),
            (_, Some(VmEnd::TripleFault(_))) => "triple fault".to_owned(),
            (_, Some(VmEnd::VcpuError { why: reason, .. })) => reason.clone(),
            (Ending::Died, Some(VmEnd::Restart)) => {
                "the guest restarted before its work was done".to_owned()
            }
            (Ending::Died, _) => "the guest hung up before its work was done".to_owned(),
            (Ending::Stalled, _) => {
                let silence = format!("no progress for {} s", self.silence_limit.as_secs());
                let lines = std::iter::once(&silence).chain(&self.vcpu_states);
                lines.map(String::as_str).collect::<Vec<_>>().join("; ")
            }
            (Ending::Flooded(Flood::Console), _) => {
                "it prints on the console without end".to_owned()
            }
            (Ending::Flooded(Flood::Messages), _) => "it sends messages without end".to_owned(),
            (Ending::ProtocolError(error), _) => format!("the guest broke the protocol: {error}"),
            (Ending::InitFailed(InitError::NoHost(reason)), _) => {
                format!("its init cannot reach the host over vsock: {reason}")
            }
            (Ending::InitFailed(InitError::Problem(reason)), _) => {
                format!("its init gave up: {reason}")
            }
            (Ending::Interrupted, _) => "interrupted".to_owned(),
            (Ending::Finished, _) => "its work was done".to_owned(),
        }
    }
}

/// A running conversation with a guest.
pub(crate) struct GuestSession<'a> {
    guest: &'a mut dyn Guest,
    limits: Limits,
    /// Time at which the current phase must have ended.
    phase_deadline: Instant,
    /// Time by which the guest must make progress; never after `phase_deadline`.
    deadline: Instant,
    /// Number of bytes of console output that were taken.
    console_start: u64,
    /// Number of bytes of messages in this phase.
    received_bytes: u64,
    hello_received: bool,
}

/// Runs the conversation with a guest that was just started, until its handler finishes or the
/// guest ends.
pub(crate) fn converse(
    guest: &mut dyn Guest,
    boot_limits: Limits,
    handler: &mut dyn Handler,
) -> Conversation {
    let now = guest.now();
    let mut session = GuestSession {
        guest,
        limits: boot_limits,
        phase_deadline: now + boot_limits.total_limit,
        deadline: now + boot_limits.silence_limit,
        console_start: 0,
        received_bytes: 0,
        hello_received: false,
    };
    let ending = session.run(handler);
    Conversation {
        ending,
        hello_received: session.hello_received,
        console: session.guest.console_since(session.console_start),
        silence_limit: session.limits.silence_limit,
        vm_end: None,
        vcpu_states: Vec::new(),
    }
}

impl GuestSession<'_> {
    /// Begins a phase with these limits.
    pub(crate) fn begin_phase(&mut self, limits: Limits) {
        let now = self.guest.now();
        self.limits = limits;
        self.phase_deadline = now + limits.total_limit;
        self.deadline = now + limits.silence_limit;
        self.received_bytes = 0;
    }

    /// Takes the console output since the last call.
    pub(crate) fn take_console(&mut self) -> String {
        let position = self.guest.printed_bytes();
        let text = self.guest.console_since(self.console_start);
        self.console_start = position;
        text
    }

    /// Sends a message. Ignores errors, because the next event reports the end of the guest.
    pub(crate) fn send(&mut self, message: &HostMessage) {
        let limit = self.limits.silence_limit.min(SEND_LIMIT);
        let deadline = self.guest.now() + limit;
        let _ = self.guest.send(&message.to_frame(), deadline);
    }

    fn run(&mut self, handler: &mut dyn Handler) -> Ending {
        let mut frames = FrameReader::default();
        let mut stream_closed = false;
        loop {
            let flow = match self.guest.next_event(self.deadline, handler.wake_descriptor()) {
                Event::Interrupted => handler.on_wake(self),
                Event::Ended => ControlFlow::Break(Ending::Died),
                Event::DeadlinePassed if stream_closed => ControlFlow::Break(Ending::Died),
                Event::DeadlinePassed => ControlFlow::Break(self.timeout_ending()),
                Event::Disconnected => {
                    // Wait for the end of the VM or its last output, because either explains more
                    // than this event.
                    stream_closed = true;
                    self.deadline = self.deadline.min(self.guest.now() + CLOSE_GRACE);
                    ControlFlow::Continue(())
                }
                Event::Connected => {
                    self.extend_deadline();
                    ControlFlow::Continue(())
                }
                Event::ConsoleOutput => self.on_console_output(),
                Event::Bytes(bytes) => self.on_bytes(&mut frames, &bytes, handler),
            };
            if let ControlFlow::Break(ending) = flow {
                return match ending {
                    Ending::Died | Ending::Stalled | Ending::Flooded(_) => {
                        self.init_error().map_or(ending, Ending::InitFailed)
                    }
                    ending => ending,
                };
            }
        }
    }

    fn extend_deadline(&mut self) {
        self.deadline = self.phase_deadline.min(self.guest.now() + self.limits.silence_limit);
    }

    /// The ending after the deadline passed. A guest that reached the deadline of the whole phase
    /// made progress all the time, so it flooded the host.
    fn timeout_ending(&self) -> Ending {
        if self.deadline < self.phase_deadline || self.limits.flood_limit.is_none() {
            return Ending::Stalled;
        }
        Ending::Flooded(if self.hello_received { Flood::Messages } else { Flood::Console })
    }

    /// Handles console output, which counts as progress only before `Hello`.
    fn on_console_output(&mut self) -> ControlFlow<Ending> {
        let new_bytes = self.guest.printed_bytes() - self.console_start;
        if self.limits.flood_limit.is_some_and(|limit| new_bytes > limit) {
            return ControlFlow::Break(Ending::Flooded(Flood::Console));
        }
        if !self.hello_received {
            self.extend_deadline();
        }
        ControlFlow::Continue(())
    }

    fn on_bytes(
        &mut self,
        frames: &mut FrameReader,
        bytes: &[u8],
        handler: &mut dyn Handler,
    ) -> ControlFlow<Ending> {
        let protocol_error = |error: String| ControlFlow::Break(Ending::ProtocolError(error));
        self.received_bytes += bytes.len() as u64;
        if self.limits.flood_limit.is_some_and(|limit| self.received_bytes > limit) {
            return ControlFlow::Break(Ending::Flooded(Flood::Messages));
        }
        frames.push(bytes);
        loop {
            let body = match frames.next_body() {
                Ok(Some(body)) => body,
                Ok(None) => break,
                Err(error) => return protocol_error(error.to_string()),
            };
            let message = match GuestMessage::decode(&body) {
                Ok(message) => message,
                Err(error) => return protocol_error(error.to_string()),
            };
            self.extend_deadline();
            match message {
                GuestMessage::Hello(hello) if !self.hello_received => {
                    if hello.version != sudbox_protocol::VERSION {
                        return protocol_error(format!(
                            "it speaks version {} of the protocol, not {}",
                            hello.version,
                            sudbox_protocol::VERSION
                        ));
                    }
                    self.hello_received = true;
                    handler.on_hello(self, hello);
                }
                message if !self.hello_received => {
                    return protocol_error(format!("{} before Hello", message_name(&message)));
                }
                message => handler.on_message(self, message)?,
            }
        }
        // A guest that sends without pause would never reach `Event::DeadlinePassed`.
        if self.limits.flood_limit.is_none() && self.guest.now() >= self.phase_deadline {
            return ControlFlow::Break(Ending::Stalled);
        }
        ControlFlow::Continue(())
    }

    /// The reason why guest-init gave up, if the console has one.
    fn init_error(&mut self) -> Option<InitError> {
        let console = self.guest.console_since(self.console_start);
        let reason_after = |prefix: &str| {
            let line = console.lines().find_map(|line| line.split_once(prefix));
            line.map(|(_, reason)| reason.trim().to_owned())
        };
        reason_after(sudbox_protocol::NO_HOST_LINE_PREFIX)
            .map(InitError::NoHost)
            .or_else(|| reason_after(sudbox_protocol::PROBLEM_LINE_PREFIX).map(InitError::Problem))
    }
}

/// The name of a message's kind.
pub(crate) fn message_name(message: &GuestMessage) -> &'static str {
    match message {
        GuestMessage::Hello(_) => "Hello",
        GuestMessage::Start { .. } => "Start",
        GuestMessage::Log { .. } => "Log",
        GuestMessage::Measured { .. } => "Measured",
        GuestMessage::Observed { .. } => "Observed",
        GuestMessage::ObservationDigest { .. } => "ObservationDigest",
        GuestMessage::VmSpent { .. } => "VmSpent",
        GuestMessage::End { .. } => "End",
        GuestMessage::AllResults(_) => "AllResults",
        GuestMessage::Output { .. } => "Output",
        GuestMessage::StdinWanted => "StdinWanted",
        GuestMessage::ProgramEnded(_) => "ProgramEnded",
    }
}
