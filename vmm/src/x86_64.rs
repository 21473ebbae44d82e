// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Describes x86-64 vCPUs in the same words for all backends.

/// `RFLAGS.IF`: maskable interrupts are enabled.
const RFLAGS_IF: u64 = 1 << 9;

/// Describes in one line what vCPU number `cpu` is doing, from its registers.
pub(crate) fn describe_vcpu(cpu: usize, rip: u64, rflags: u64, halted: bool) -> String {
    let doing = match (halted, rflags & RFLAGS_IF) {
        (true, 0) => "halted with interrupts off",
        (true, _) => "halted",
        (false, 0) => "runs with interrupts off",
        (false, _) => "runs",
    };
    format!("CPU {cpu} {doing} at RIP={rip:016x}")
}
