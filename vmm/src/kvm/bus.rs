//! What the guest reaches by address, when KVM hands an access over; where the architecture has
//! ports, its folder adds them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::arch::layout::{SERIAL_MMIO, VSOCK_MMIO, VSOCK_MMIO_SIZE};
use super::serial::{Serial, SerialState};
use crate::virtio::mmio::Transport;

/// Registers of the serial interface, a byte each.
pub(super) const SERIAL_REGISTERS: u16 = 8;

/// What a write asks of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The guest restarts the machine.
    Restart,
}

/// The devices. All vCPUs may call at once; each device has its own lock.
pub struct Bus {
    serial: Mutex<Serial>,
    vsock: Arc<Transport>,
}

impl Bus {
    /// A bus with these devices.
    #[must_use]
    pub fn new(serial: Serial, vsock: Arc<Transport>) -> Bus {
        Bus { serial: Mutex::new(serial), vsock }
    }

    /// A read at a guest-physical address without memory. All ones where there is no device.
    pub fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        if let Some(offset) = vsock_offset(addr) {
            self.vsock.read(offset, data);
        } else if let Some(first) = serial_offset(addr) {
            // Eight bits wide: a wider access is one of each register in turn.
            for (offset, byte) in (first..).zip(data) {
                *byte = if offset < SERIAL_REGISTERS { self.serial().read(offset) } else { 0xff };
            }
        } else {
            data.fill(0xff);
        }
    }

    /// A write at a guest-physical address without memory.
    pub fn mmio_write(&self, addr: u64, data: &[u8]) {
        if let Some(offset) = vsock_offset(addr) {
            self.vsock.write(offset, data);
        } else if let Some(first) = serial_offset(addr) {
            for (offset, &byte) in (first..SERIAL_REGISTERS).zip(data) {
                self.serial().write(offset, byte);
            }
        }
    }

    /// The serial interface, for a snapshot.
    pub fn save_serial(&self) -> SerialState {
        self.serial().save()
    }

    pub(super) fn serial(&self) -> MutexGuard<'_, Serial> {
        // A thread that panicked with the lock held left a device that is still well-formed.
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn vsock_offset(addr: u64) -> Option<u64> {
    addr.checked_sub(VSOCK_MMIO).filter(|&offset| offset < VSOCK_MMIO_SIZE)
}

/// The register of the serial interface at this address, where it has addresses.
fn serial_offset(addr: u64) -> Option<u16> {
    let offset = u16::try_from(addr.checked_sub(SERIAL_MMIO?)?).ok()?;
    (offset < SERIAL_REGISTERS).then_some(offset)
}
