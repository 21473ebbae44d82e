// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The host's view of a guest: a stream of messages, a console, an end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;
use sudbox_vmm::session::Event;

/// A guest that runs. A VM is one, and so are guest-init as a process of this machine and the
/// scripts of the tests.
pub(crate) trait Guest {
    /// Waits for the next event, at most until the deadline. [`Event::Interrupted`] says that
    /// `wake` is readable.
    fn next(&mut self, deadline: Instant, wake: Option<BorrowedFd<'_>>) -> Event;

    /// Writes to the stream.
    ///
    /// # Errors
    /// If the guest closed the stream, or did not take all of it until the deadline.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;

    /// Number of bytes that the console has printed up to now.
    fn printed(&mut self) -> u64;

    /// The console's output from this position on.
    fn console_since(&mut self, position: u64) -> String;
}

#[cfg(test)]
pub(crate) mod script {
    use super::*;
    use std::collections::VecDeque;
    use sudbox_protocol::{FrameReader, GuestMessage, Hello, HostMessage};

    /// A guest that does what its script says, whatever it is told; then it is silent for ever.
    pub(crate) struct Script {
        events: Box<dyn Iterator<Item = (Event, &'static str)>>,
        /// The console output so far.
        pub(crate) console: String,
        /// The messages of the host.
        pub(crate) heard: VecDeque<HostMessage>,
    }

    impl Script {
        /// Each event comes after the console has printed the text beside it.
        pub(crate) fn new(
            events: impl IntoIterator<Item = (Event, &'static str)> + 'static,
        ) -> Script {
            let events = Box::new(events.into_iter());
            Script { events, console: String::new(), heard: VecDeque::new() }
        }
    }

    impl Guest for Script {
        fn next(&mut self, _: Instant, _: Option<BorrowedFd<'_>>) -> Event {
            let (event, printed) = self.events.next().unwrap_or((Event::Deadline, ""));
            self.console.push_str(printed);
            event
        }

        fn send(&mut self, bytes: &[u8], _: Instant) -> io::Result<()> {
            let mut frames = FrameReader::default();
            frames.push(bytes);
            let body = frames.next_body().unwrap().unwrap();
            self.heard.push_back(HostMessage::decode(&body).unwrap());
            Ok(())
        }

        fn printed(&mut self) -> u64 {
            self.console.len() as u64
        }

        fn console_since(&mut self, position: u64) -> String {
            self.console[usize::try_from(position).unwrap()..].to_owned()
        }
    }

    /// The event that brings these messages.
    pub(crate) fn say(messages: &[GuestMessage]) -> (Event, &'static str) {
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
