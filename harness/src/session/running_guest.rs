// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The interface to a running guest: a message stream and a console.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;
use sudbox_vmm::session::Event;

/// Error: a guest ended by a fault of this machine or of sudbox, and not of its kernel. The field is
/// the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct MachineFault(pub(crate) String);

/// A running guest: a VM, guest-init as a process of this machine, or a script in tests.
pub(crate) trait Guest {
    /// Waits for the next event, at most until `deadline`. Returns [`Event::Interrupted`] if `wake`
    /// is readable.
    fn next_event(&mut self, deadline: Instant, wake: Option<BorrowedFd<'_>>) -> Event;

    /// Writes to the stream.
    ///
    /// # Errors
    /// If the guest closed the stream, or did not accept all bytes before the deadline.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;

    /// Number of bytes of console output so far.
    fn printed_bytes(&mut self) -> u64;

    /// The console output without its first `position` bytes.
    fn console_since(&mut self, position: u64) -> String;

    /// The time by which deadlines are meant.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
pub(crate) mod script {
    use super::*;
    use std::borrow::Cow;
    use std::collections::VecDeque;
    use std::time::Duration;
    use sudbox_protocol::{FrameReader, GuestMessage, Hello, HostMessage};

    /// An event of a [`Script`].
    #[derive(Clone, Debug)]
    pub(crate) struct Step {
        /// Time from the event before. The event is ready at once if it is zero.
        pub(crate) delay: Duration,
        /// The output of the console before the event.
        pub(crate) printed: Cow<'static, str>,
        pub(crate) event: Event,
    }

    /// A guest that plays a list of events, and is silent afterwards. It has a clock of its own,
    /// which advances by the delays of its events and, when it is silent, to the deadline.
    pub(crate) struct Script {
        steps: Box<dyn Iterator<Item = Step>>,
        /// Number of steps that were played.
        pub(crate) played_steps: usize,
        /// Whether the guest reads what the host sends.
        pub(crate) reads: bool,
        start: Instant,
        now: Instant,
        /// The console output so far.
        pub(crate) console: String,
        /// The messages of the host.
        pub(crate) received_messages: VecDeque<HostMessage>,
    }

    impl Script {
        /// Each event comes with text that the console prints before it, a millisecond after the
        /// event before.
        pub(crate) fn new(
            events: impl IntoIterator<Item = (Event, &'static str)> + 'static,
        ) -> Script {
            Script::of_steps(events.into_iter().map(|(event, printed)| Step {
                delay: Duration::from_millis(1),
                printed: printed.into(),
                event,
            }))
        }

        pub(crate) fn of_steps(steps: impl IntoIterator<Item = Step> + 'static) -> Script {
            let start = Instant::now();
            Script {
                steps: Box::new(steps.into_iter()),
                played_steps: 0,
                reads: true,
                start,
                now: start,
                console: String::new(),
                received_messages: VecDeque::new(),
            }
        }

        /// The time that has passed on the clock of the script.
        pub(crate) fn elapsed(&self) -> Duration {
            self.now - self.start
        }
    }

    impl Guest for Script {
        /// As `Session::next`: what is ready is an event even after the deadline, except console
        /// output.
        fn next_event(&mut self, deadline: Instant, _: Option<BorrowedFd<'_>>) -> Event {
            let next = self.steps.next().filter(|step| {
                let is_ready = step.delay.is_zero() && step.event != Event::ConsoleOutput;
                is_ready || self.now + step.delay < deadline
            });
            let Some(step) = next else {
                self.now = self.now.max(deadline);
                return Event::DeadlinePassed;
            };
            self.now += step.delay;
            self.played_steps += 1;
            self.console.push_str(&step.printed);
            step.event
        }

        fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
            if !self.reads {
                self.now = self.now.max(deadline);
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut frames = FrameReader::default();
            frames.push(bytes);
            let body = frames.next_body().unwrap().unwrap();
            self.received_messages.push_back(HostMessage::decode(&body).unwrap());
            Ok(())
        }

        fn printed_bytes(&mut self) -> u64 {
            self.console.len() as u64
        }

        fn console_since(&mut self, position: u64) -> String {
            self.console[usize::try_from(position).unwrap()..].to_owned()
        }

        fn now(&self) -> Instant {
            self.now
        }
    }

    /// The event in which these messages arrive.
    pub(crate) fn messages(messages: &[GuestMessage]) -> (Event, &'static str) {
        (Event::Bytes(messages.iter().flat_map(GuestMessage::to_frame).collect()), "")
    }

    /// The first message of a guest that speaks this protocol.
    pub(crate) fn hello() -> GuestMessage {
        GuestMessage::Hello(Hello { version: sudbox_protocol::VERSION, ..Hello::default() })
    }

    /// A text that lives as long as the script.
    pub(crate) fn leaked(text: String) -> &'static str {
        Box::leak(text.into_boxed_str())
    }
}
