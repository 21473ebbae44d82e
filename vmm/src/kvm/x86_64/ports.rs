// SPDX-License-Identifier: Apache-2.0 OR MIT
//! I/O ports: UART and i8042.

use super::i8042;
use super::layout::SERIAL_PORT;
use crate::kvm::bus::{Bus, SERIAL_REGISTER_COUNT, WriteEffect};

impl Bus {
    /// Handles an `in` of one item. For a string instruction, this function is called once for each
    /// item.
    ///
    /// All devices are 8 bits wide, so a wider access goes to consecutive ports, as on the ISA bus.
    /// Ports without a device read as all ones.
    pub fn pio_read(&self, port: u16, data: &mut [u8]) {
        for (port, byte) in consecutive_ports(port).zip(data) {
            *byte = match port {
                Some(port) if is_serial(port) => self.serial().read(port - SERIAL_PORT),
                Some(i8042::COMMAND_PORT) => i8042::read_status(),
                _ => 0xff,
            };
        }
    }

    /// Handles an `out` of one item; see [`Bus::pio_read`].
    pub fn pio_write(&self, port: u16, data: &[u8]) -> WriteEffect {
        let mut effect = WriteEffect::None;
        for (port, &byte) in consecutive_ports(port).zip(data) {
            match port {
                Some(port) if is_serial(port) => self.serial().write(port - SERIAL_PORT, byte),
                Some(i8042::COMMAND_PORT) if i8042::write_command(byte) == WriteEffect::Restart => {
                    effect = WriteEffect::Restart;
                }
                _ => {}
            }
        }
        effect
    }
}

/// Returns consecutive ports from `first` on; `None` beyond the last port.
fn consecutive_ports(first: u16) -> impl Iterator<Item = Option<u16>> {
    (0..).map(move |offset| first.checked_add(offset))
}

/// Returns true if a port is a register of the UART.
fn is_serial(port: u16) -> bool {
    (SERIAL_PORT..SERIAL_PORT + SERIAL_REGISTER_COUNT).contains(&port)
}

#[cfg(test)]
mod tests;
