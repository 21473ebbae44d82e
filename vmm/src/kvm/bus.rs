// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Passes the guest's MMIO accesses to the devices. The I/O ports of x86-64 are in
//! `x86_64/ports.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::arch::layout::{SERIAL_MMIO, VSOCK_MMIO, VSOCK_MMIO_SIZE};
use super::serial::{Serial, SerialState};
use crate::virtio::mmio::Transport;

/// Number of registers of the UART, one byte each.
pub(super) const SERIAL_REGISTER_COUNT: u16 = 8;

/// Effect of a guest's write to a device on the whole VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// The write has no effect on the VM.
    None,
    /// The guest asked for a restart.
    Restart,
}

/// The devices at guest-physical addresses and I/O ports. vCPUs may access the devices
/// concurrently, because each device has its own lock.
pub struct Bus {
    serial: Mutex<Serial>,
    vsock: Arc<Transport>,
}

impl Bus {
    /// Creates a bus with these devices.
    #[must_use]
    pub fn new(serial: Serial, vsock: Arc<Transport>) -> Bus {
        Bus { serial: Mutex::new(serial), vsock }
    }

    /// Handles a read at a guest-physical address without memory. An address without a device reads
    /// as all ones.
    pub fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        if let Some(offset) = vsock_offset(addr) {
            self.vsock.read(offset, data);
        } else if let Some(first_offset) = serial_offset(addr) {
            // Registers have 8 bits: a wider access covers consecutive registers.
            for (offset, byte) in (first_offset..).zip(data) {
                *byte =
                    if offset < SERIAL_REGISTER_COUNT { self.serial().read(offset) } else { 0xff };
            }
        } else {
            data.fill(0xff);
        }
    }

    /// Handles a write at a guest-physical address without memory. A write to no device has no
    /// effect.
    pub fn mmio_write(&self, addr: u64, data: &[u8]) {
        if let Some(offset) = vsock_offset(addr) {
            self.vsock.write(offset, data);
        } else if let Some(first_offset) = serial_offset(addr) {
            for (offset, &byte) in (first_offset..SERIAL_REGISTER_COUNT).zip(data) {
                self.serial().write(offset, byte);
            }
        }
    }

    /// Returns the state of the UART.
    pub fn save_serial(&self) -> SerialState {
        self.serial().save()
    }

    pub(super) fn serial(&self) -> MutexGuard<'_, Serial> {
        // Every state of the UART is valid, even after a panic with the lock held.
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the offset of an address in the vsock device's registers; `None` for other addresses.
fn vsock_offset(addr: u64) -> Option<u64> {
    addr.checked_sub(VSOCK_MMIO).filter(|&offset| offset < VSOCK_MMIO_SIZE)
}

/// Returns the offset of an address in the UART's registers; `None` for other addresses, and on
/// architectures whose UART has I/O ports.
fn serial_offset(addr: u64) -> Option<u16> {
    let offset = u16::try_from(addr.checked_sub(SERIAL_MMIO?)?).ok()?;
    (offset < SERIAL_REGISTER_COUNT).then_some(offset)
}
