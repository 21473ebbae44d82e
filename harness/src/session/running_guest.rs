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
}

#[cfg(test)]
pub(crate) mod script {
    use super::*;
    use std::collections::VecDeque;
    use sudbox_protocol::{FrameReader, GuestMessage, Hello, HostMessage};

    /// A guest that plays a fixed list of events, and is silent afterwards.
    pub(crate) struct Script {
        events: Box<dyn Iterator<Item = (Event, &'static str)>>,
        /// The console output so far.
        pub(crate) console: String,
        /// The messages of the host.
        pub(crate) received_messages: VecDeque<HostMessage>,
    }

    impl Script {
        /// Each event comes with text that the console prints before it.
        pub(crate) fn new(
            events: impl IntoIterator<Item = (Event, &'static str)> + 'static,
        ) -> Script {
            let events = Box::new(events.into_iter());
            Script { events, console: String::new(), received_messages: VecDeque::new() }
        }
    }

    impl Guest for Script {
        fn next_event(&mut self, _: Instant, _: Option<BorrowedFd<'_>>) -> Event {
            let (event, printed) = self.events.next().unwrap_or((Event::DeadlinePassed, ""));
            self.console.push_str(printed);
            event
        }

        fn send(&mut self, bytes: &[u8], _: Instant) -> io::Result<()> {
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
