// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The serial port COM1: a 16550A UART whose output is the guest's console. The port has no input.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use serde::{Deserialize, Serialize};
use vm_superio::Trigger;
use vm_superio::serial::NoEvents;
use vmm_sys_util::eventfd::EventFd;

use crate::poll::{self, PollFd, PollFlags};

/// A 16550A UART whose output goes to a writer.
pub struct Serial {
    uart: vm_superio::Serial<InterruptLine, NoEvents, Box<dyn Write + Send>>,
}

/// State of a UART: its registers, each with its name in the data sheet, and its receive buffer,
/// which is filled only in loopback mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    /// DLL.
    pub divisor_low: u8,
    /// DLM.
    pub divisor_high: u8,
    /// IER.
    pub interrupt_enable: u8,
    /// IIR.
    pub interrupt_identification: u8,
    /// LCR.
    pub line_control: u8,
    /// LSR.
    pub line_status: u8,
    /// MCR.
    pub modem_control: u8,
    /// MSR.
    pub modem_status: u8,
    /// SCR.
    pub scratch: u8,
    /// Bytes in the receive buffer.
    pub received: Vec<u8>,
}

/// Error: the UART of a snapshot cannot be restored.
#[derive(Debug, thiserror::Error)]
#[error("cannot restore the serial port: {0}")]
pub struct RestoreError(String);

impl Serial {
    /// Creates a UART in its power-on state. The UART writes `interrupt` to assert its interrupt
    /// line. The vCPU thread writes each byte of the guest to `output` at once; see
    /// [`ConsoleOutput`].
    #[must_use]
    pub fn new(interrupt: EventFd, output: Box<dyn Write + Send>) -> Serial {
        Serial { uart: vm_superio::Serial::new(InterruptLine(interrupt), output) }
    }

    /// Creates a UART in a saved state. A pending interrupt is asserted again.
    ///
    /// # Errors
    /// [`RestoreError`] if the receive buffer is too large.
    pub fn restore(
        state: &SerialState,
        interrupt: EventFd,
        output: Box<dyn Write + Send>,
    ) -> Result<Serial, RestoreError> {
        let state = vm_superio::SerialState {
            baud_divisor_low: state.divisor_low,
            baud_divisor_high: state.divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.received.clone(),
        };
        vm_superio::Serial::from_state(&state, InterruptLine(interrupt), NoEvents, output)
            .map(|uart| Serial { uart })
            .map_err(|error| RestoreError(error.to_string()))
    }

    /// Returns the UART's state.
    #[must_use]
    pub fn save(&self) -> SerialState {
        let state = self.uart.state();
        SerialState {
            divisor_low: state.baud_divisor_low,
            divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            received: state.in_buffer,
        }
    }

    /// Returns the register at `offset`, 0 to 7.
    pub(super) fn read(&mut self, offset: u16) -> u8 {
        u8::try_from(offset).map_or(0xff, |offset| self.uart.read(offset))
    }

    /// Writes the register at `offset`, 0 to 7.
    pub(super) fn write(&mut self, offset: u16, value: u8) {
        if let Ok(offset) = u8::try_from(offset) {
            // If the output fails, the byte is lost, as on an unconnected line.
            let _ = self.uart.write(offset, value);
        }
    }
}

/// The UART's interrupt line: an eventfd that is registered as an irqfd.
struct InterruptLine(EventFd);

impl Trigger for InterruptLine {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        match self.0.write(1) {
            // If the counter is full, an interrupt is pending already.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}

/// Write end of the session's console pipe.
///
/// If a guest prints faster than the session reads, its vCPU thread waits, as for a slow line. To
/// stop the thread, the owner of the VM writes `abort_evt`; bytes that do not fit into the pipe are
/// then dropped. A signal alone does not end the wait, because `poll(2)` is then repeated.
pub struct ConsoleOutput {
    pipe: io::PipeWriter,
    abort_evt: EventFd,
}

impl ConsoleOutput {
    /// Creates an output that waits for the reader of `pipe` until `abort_evt` is readable.
    ///
    /// # Errors
    /// If the pipe cannot be made non-blocking.
    pub fn new(pipe: io::PipeWriter, abort_evt: EventFd) -> io::Result<ConsoleOutput> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(ConsoleOutput { pipe, abort_evt })
    }
}

impl Write for ConsoleOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.pipe.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if wait_writable_or_abort(self.pipe.as_fd(), poll::borrow_eventfd(&self.abort_evt))? {
                // The caller repeats a write after `Interrupted`, but not after `WouldBlock`.
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until `pipe` is writable or has no reader, or until `abort` is readable. Returns true if
/// `abort` is readable.
///
/// # Errors
/// Those of `ppoll(2)`, except `EINTR`.
fn wait_writable_or_abort(pipe: BorrowedFd<'_>, abort: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [
        PollFd::from_borrowed_fd(abort, PollFlags::IN),
        PollFd::from_borrowed_fd(pipe, PollFlags::OUT),
    ];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
    Ok(!fds[0].revents().is_empty())
}

#[cfg(test)]
pub(crate) mod tests;
