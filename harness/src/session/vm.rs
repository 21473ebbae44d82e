// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A VM as a guest, and its end after the conversation.

use super::conversation::{Conversation, Ending};
use super::kernel_log;
use super::running_guest::{Guest, MachineFault};
use crate::output;
use crate::output::progress::Progress;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use sudbox_vmm::machine::{MarkedOperationTrace, Snapshot, VmEnd};
use sudbox_vmm::session::{self, Event, Session};

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
    /// The reason why this machine could not wait for the VM, or get its bytes.
    wait_failure: Option<String>,
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
        VmGuest { session, printer: show_console.then(ConsolePrinter::default), wait_failure: None }
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
        output::console_lines(&text);
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
    /// If the VM was killed from outside, its backend failed, or this machine could not wait for
    /// it, before the guest finished and before the kernel reported a fault. None of these is the
    /// fault of the kernel.
    pub(crate) fn end(mut self, conversation: &mut Conversation) -> Result<(), MachineFault> {
        if conversation.ending == Ending::Stalled {
            conversation.vcpu_states = self.session.diagnose();
        }
        self.print_console(ConsolePart::Everything);
        let grace = match conversation.ending {
            Ending::Died | Ending::InitFailed(_) => SHUTDOWN_GRACE,
            // The report needs nothing more from the VM, so the VM is killed at once.
            _ => Duration::ZERO,
        };
        let mut vm_end = self.session.finish(grace);
        if let Some(reason) = self.wait_failure {
            vm_end = VmEnd::Failed(reason);
        }
        let fault = machine_fault(conversation, &vm_end);
        conversation.vm_end = Some(vm_end);
        fault.map_or(Ok(()), Err)
    }
}

/// The fault of this machine by which a VM ended; `None` if the guest had finished, the run was
/// interrupted, or the kernel is to blame.
fn machine_fault(conversation: &Conversation, vm_end: &VmEnd) -> Option<MachineFault> {
    let reason = match vm_end {
        VmEnd::Killed(signal) => {
            format!("the VM was killed by signal {signal} from outside (out of memory?); run again")
        }
        VmEnd::Failed(error) => {
            // QEMU's messages have many lines, and text of the guest in them.
            let lines: Vec<&str> = error.lines().filter(|line| !line.trim().is_empty()).collect();
            format!("the VM could not run: {}", lines.join("; "))
        }
        _ => return None,
    };
    let is_done = matches!(conversation.ending, Ending::Finished | Ending::Interrupted);
    (!is_done && kernel_log::scan(&conversation.console).is_none()).then_some(MachineFault(reason))
}

impl Guest for VmGuest {
    fn next_event(&mut self, deadline: Instant, wake: Option<BorrowedFd<'_>>) -> Event {
        let event = self.session.next(deadline, wake).unwrap_or_else(|error| {
            self.wait_failure = Some(session::wait_failure(&error));
            Event::Ended
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::conversation::Flood;

    #[test]
    fn a_failed_backend_is_this_machines_fault_however_the_conversation_ended() {
        let conversation = |ending: Ending, console: &str| Conversation {
            ending,
            hello_received: true,
            console: console.to_owned(),
            silence_limit: Duration::from_secs(1),
            vm_end: None,
            vcpu_states: Vec::new(),
        };
        let failed = VmEnd::Failed("killed by signal 6".to_owned());
        for end in [&failed, &VmEnd::Killed(9)] {
            let fault = |ending, console| machine_fault(&conversation(ending, console), end);
            for ending in [
                Ending::Died,
                Ending::Stalled,
                Ending::Flooded(Flood::Console),
                Ending::ProtocolError("Start in state Planned".to_owned()),
            ] {
                assert!(fault(ending, "").is_some());
            }
            assert_eq!(fault(Ending::Finished, ""), None);
            assert_eq!(fault(Ending::Interrupted, ""), None);
            let oops = "BUG: kernel NULL pointer dereference, address: 0000000000000010\n";
            assert_eq!(fault(Ending::Died, oops), None, "the kernel had a fault before");
        }
        assert_eq!(machine_fault(&conversation(Ending::Died, ""), &VmEnd::Restart), None);
    }
}
