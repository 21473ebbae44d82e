// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A session whose console is shown on stderr while the guest runs, where that was asked for.

use crate::session::conduct::Vm;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use sudbox_vmm::machine::{Snapshot, VmEnd};
use sudbox_vmm::session::{Event, Session};

pub(crate) struct Watched {
    session: Session,
    /// How much of the console has been shown; `None` where it is not.
    shown: Option<u64>,
}

impl Watched {
    pub(crate) fn new(session: Session, live: bool) -> Self {
        Watched { session, shown: live.then_some(0) }
    }

    fn show(&mut self) {
        let Some(shown) = self.shown else { return };
        let console = self.session.console();
        let text = console.since(shown);
        self.shown = Some(console.total());
        // A stderr that is gone is no reason to stop judging.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// See [`Session::snapshot`].
    pub(crate) fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        self.session.snapshot()
    }

    /// See [`Session::diagnose`].
    pub(crate) fn diagnose(&mut self) -> Vec<String> {
        self.session.diagnose()
    }

    pub(crate) fn finish(mut self, patience: Duration) -> VmEnd {
        self.show();
        self.session.finish(patience)
    }
}

impl Vm for Watched {
    fn next(&mut self, deadline: Instant, interrupt: Option<BorrowedFd<'_>>) -> Event {
        // Waiting fails only when the descriptors are beyond use, and then the VM is lost too.
        let event = self.session.next(deadline, interrupt).unwrap_or(Event::Ended);
        self.show();
        event
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> std::io::Result<()> {
        self.session.send(bytes, deadline)
    }

    fn printed(&mut self) -> u64 {
        self.session.console().total()
    }

    fn console_since(&mut self, mark: u64) -> String {
        self.session.console().since(mark)
    }
}
