// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A VM as a guest, and its end after the conversation.

use super::conversation::{Conversation, Ending};
use super::running_guest::Guest;
use crate::failure::Failure;
use crate::output::progress::Progress;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use sudbox_report::text;
use sudbox_vmm::machine::{MarkedOperationTrace, Snapshot, VmEnd};
use sudbox_vmm::session::{Event, Session};

/// Maximum time to wait until a VM ends by itself after it closed its stream.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Maximum length in bytes of an incomplete console line. A longer line is printed before it is
/// complete.
const MAX_PENDING_LINE_BYTES: usize = 4096;

/// A running VM. Prints its console on stderr if requested.
pub(crate) struct VmGuest {
    session: Session,
    /// `None` if the console is not printed.
    printer: Option<ConsolePrinter>,
}

/// The part of the new console output that is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ConsolePart {
    CompleteLines,
    Everything,
}

/// The state of the console printer.
#[derive(Default)]
struct ConsolePrinter {
    /// Number of bytes of console output that were read.
    position: u64,
    /// The last line, if it is not complete yet.
    line: String,
}

impl VmGuest {
    /// Wraps a VM that was just started. If the VM waits for gdb, prints the command that attaches
    /// gdb.
    pub(crate) fn new(
        session: Session,
        show_console: bool,
        vmlinux: Option<&Path>,
        progress: &mut Progress,
    ) -> VmGuest {
        if let Some(target) = session.gdb_target() {
            let vmlinux = vmlinux.unwrap_or(Path::new("VMLINUX")).display();
            progress.print("debug", &format!("gdb -ex 'target remote {target}' {vmlinux}"));
        }
        VmGuest { session, printer: show_console.then(ConsolePrinter::default) }
    }

    /// Prints the new console output, or only its complete lines.
    fn print_console(&mut self, part: ConsolePart) {
        let only_complete_lines = part == ConsolePart::CompleteLines;
        let Some(printer) = &mut self.printer else { return };
        let console = self.session.console();
        printer.line.push_str(&console.text_since(printer.position));
        printer.position = console.total_bytes();
        let end = match printer.line.rfind('\n') {
            Some(newline) if only_complete_lines && printer.line.len() < MAX_PENDING_LINE_BYTES => {
                newline + 1
            }
            None if only_complete_lines && printer.line.len() < MAX_PENDING_LINE_BYTES => return,
            _ => printer.line.len(),
        };
        let text: String = printer.line.drain(..end).collect();
        let lines: String =
            text::escaped_lines(&text).iter().map(|line| format!("{line}\n")).collect();
        // A closed stderr does not end the run.
        let _ = std::io::stderr().write_all(lines.as_bytes());
    }

    /// The whole console output.
    pub(crate) fn console(&mut self) -> String {
        self.session.console().text_since(0)
    }

    /// See [`Session::snapshot`].
    pub(crate) fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        self.session.snapshot()
    }

    /// See [`Session::marked_operation_traces`].
    pub(crate) fn marked_operation_traces(&self) -> Result<Vec<MarkedOperationTrace>, String> {
        self.session.marked_operation_traces()
    }

    /// Ends the VM after the conversation, and sets `vm_end` and `vcpu_states` of the conversation.
    ///
    /// # Errors
    /// If the VM was killed from outside, or its backend failed, before the guest finished. Neither
    /// is the fault of the kernel.
    pub(crate) fn end(mut self, conversation: &mut Conversation) -> anyhow::Result<()> {
        if conversation.ending == Ending::Stalled {
            conversation.vcpu_states = self.session.diagnose();
        }
        let has_died = conversation.ending == Ending::Died;
        self.print_console(ConsolePart::Everything);
        let grace = match conversation.ending {
            Ending::Died | Ending::InitFailed(_) => SHUTDOWN_GRACE,
            // The report needs nothing more from the VM, so the VM is killed at once.
            _ => Duration::ZERO,
        };
        let vm_end = self.session.finish(grace);
        match &vm_end {
            VmEnd::Killed(signal) if has_died => {
                return Err(Failure::machine(format!(
                    "the VM was killed by signal {signal} from outside (out of memory?); run again"
                )));
            }
            VmEnd::Failed(error) if has_died => {
                return Err(Failure::machine(format!("the VM could not run: {error}")));
            }
            _ => {}
        }
        conversation.vm_end = Some(vm_end);
        Ok(())
    }
}

impl Guest for VmGuest {
    fn next_event(&mut self, deadline: Instant, wake: Option<BorrowedFd<'_>>) -> Event {
        // Waiting fails only if a descriptor is invalid, and then the VM is lost too.
        let event = self.session.next(deadline, wake).unwrap_or(Event::Ended);
        self.print_console(ConsolePart::CompleteLines);
        event
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> std::io::Result<()> {
        self.session.send(bytes, deadline)
    }

    fn printed_bytes(&mut self) -> u64 {
        self.session.console().total_bytes()
    }

    fn console_since(&mut self, position: u64) -> String {
        self.session.console().text_since(position)
    }
}
