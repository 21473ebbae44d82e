//! What is left of the keyboard controller: the line to the processor's reset.

use crate::kvm::bus::Effect;

/// Ports of the controller that are claimed: status and command.
pub(super) const COMMAND_PORT: u16 = 0x64;

/// Pulses the reset line: what a kernel writes for `reboot=k` (`native_machine_emergency_restart`
/// in `arch/x86/kernel/reboot.c`).
const RESET: u8 = 0xfe;

/// The status: nothing pending in either direction, so that `kb_wait` ends at once.
pub(super) fn read() -> u8 {
    0
}

/// A command of the guest.
pub(super) fn write(command: u8) -> Effect {
    if command == RESET { Effect::Restart } else { Effect::None }
}
