// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The i8042 keyboard controller, reduced to its reset line.

use crate::kvm::bus::WriteEffect;

/// Status and command port.
pub(super) const COMMAND_PORT: u16 = 0x64;

/// Command that pulses the reset line. A kernel with `reboot=k` writes this command
/// (`native_machine_emergency_restart` in `arch/x86/kernel/reboot.c`).
const RESET_COMMAND: u8 = 0xfe;

/// Returns the status: both buffers are empty. The kernel waits for this status before a command
/// (`kb_wait` in `arch/x86/kernel/reboot.c`).
pub(super) fn read_status() -> u8 {
    0
}

/// Handles a command of the guest.
pub(super) fn write_command(command: u8) -> WriteEffect {
    if command == RESET_COMMAND { WriteEffect::Restart } else { WriteEffect::None }
}
