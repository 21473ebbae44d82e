// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text about x86-64 vCPUs for all backends.

/// `RFLAGS.IF`: maskable interrupts are enabled.
const RFLAGS_IF: u64 = 1 << 9;

/// Describes the activity of a vCPU in one line, from its registers.
pub(crate) fn describe_vcpu(cpu_index: usize, rip: u64, rflags: u64, is_halted: bool) -> String {
    let activity = match (is_halted, rflags & RFLAGS_IF) {
        (true, 0) => "halted with interrupts off",
        (true, _) => "halted",
        (false, 0) => "runs with interrupts off",
        (false, _) => "runs",
    };
    format!("CPU {cpu_index} {activity} at RIP={rip:016x}")
}
