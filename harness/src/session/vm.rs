// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A VM as a guest, and its end after the conversation.

use super::conversation::{Conversation, Ending};
use super::guest::Guest;
use crate::failure::Failure;
use crate::output::progress::Progress;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use sudbox_report::text;
use sudbox_vmm::machine::{Snapshot, VmEnd};
use sudbox_vmm::session::{Event, Session};

/// Time for a VM whose stream is lost to end by itself.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// A line of the console is shown before its end from this length on, in bytes.
const LONGEST_LINE: usize = 4096;

/// A running VM, its console shown on stderr if that was asked for.
pub(crate) struct VmGuest {
    session: Session,
    /// `None` where the console is not shown.
    shown: Option<Shown>,
}

/// Progress of showing the console.
#[derive(Default)]
struct Shown {
    /// Console position up to which it was read.
    position: u64,
    /// The line that is not complete yet.
    line: String,
}

impl VmGuest {
    /// A VM that has just been started. Prints the command that attaches gdb if the VM waits for it.
    pub(crate) fn new(
        session: Session,
        show_console: bool,
        vmlinux: Option<&Path>,
        progress: &mut Progress,
    ) -> VmGuest {
        if let Some(target) = session.debugger() {
            let vmlinux = vmlinux.unwrap_or(Path::new("VMLINUX")).display();
            progress.say("debug", &format!("gdb -ex 'target remote {target}' {vmlinux}"));
        }
        VmGuest { session, shown: show_console.then(Shown::default) }
    }

    /// Shows the lines that the console has completed; at the end, also the last one.
    fn show(&mut self, at_end: bool) {
        let Some(shown) = &mut self.shown else { return };
        let console = self.session.console();
        shown.line.push_str(&console.since(shown.position));
        shown.position = console.total();
        let whole = match shown.line.rfind('\n') {
            Some(at) if !at_end && shown.line.len() < LONGEST_LINE => at + 1,
            None if !at_end && shown.line.len() < LONGEST_LINE => return,
            _ => shown.line.len(),
        };
        let whole: String = shown.line.drain(..whole).collect();
        let lines: String = text::lines(&whole).iter().map(|line| format!("{line}\n")).collect();
        // Nobody may read stderr any more; that does not end the run.
        let _ = std::io::stderr().write_all(lines.as_bytes());
    }

    /// The whole console.
    pub(crate) fn console(&mut self) -> String {
        self.session.console().since(0)
    }

    /// See [`Session::snapshot`].
    pub(crate) fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        self.session.snapshot()
    }

    /// Ends the VM after the conversation and adds to it how the VM ended.
    ///
    /// # Errors
    /// If the VM was ended from outside, or by its backend, while the guest was at work: that says
    /// nothing about the kernel.
    pub(crate) fn end(mut self, conversation: &mut Conversation) -> anyhow::Result<()> {
        if conversation.ending == Ending::Stalled {
            conversation.vcpus = self.session.diagnose();
        }
        let died = conversation.ending == Ending::Died;
        self.show(true);
        let patience = match conversation.ending {
            Ending::Died | Ending::InitFailed(_) => LAST_MOMENTS,
            // The way the guest goes down adds nothing.
            _ => Duration::ZERO,
        };
        let end = self.session.finish(patience);
        match &end {
            VmEnd::Killed(signal) if died => {
                return Err(Failure::machine(format!(
                    "the VM was killed by signal {signal} from outside (out of memory?); run again"
                )));
            }
            VmEnd::Failed(words) if died => {
                return Err(Failure::machine(format!("the VM could not run: {words}")));
            }
            _ => {}
        }
        conversation.vm_end = Some(end);
        Ok(())
    }
}

impl Guest for VmGuest {
    fn next(&mut self, deadline: Instant, wake: Option<BorrowedFd<'_>>) -> Event {
        // Waiting fails only when the descriptors are beyond use, and then the VM is lost too.
        let event = self.session.next(deadline, wake).unwrap_or(Event::Ended);
        self.show(false);
        event
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> std::io::Result<()> {
        self.session.send(bytes, deadline)
    }

    fn printed(&mut self) -> u64 {
        self.session.console().total()
    }

    fn console_since(&mut self, position: u64) -> String {
        self.session.console().since(position)
    }
}
