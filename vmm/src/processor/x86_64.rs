// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recognises QEMU's emulation of x86-64.

/// Returns true if CPUID leaf 40000000h, the name of the hypervisor, holds the name of TCG (QEMU's
/// target/i386/cpu.c).
pub(super) fn is_emulated() -> bool {
    const TCG: [u32; 3] =
        [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")];
    /// CPUID.1:ECX: a hypervisor is present.
    const HYPERVISOR: u32 = 1 << 31;
    let hypervisor_is_tcg = || {
        let leaf = std::arch::x86_64::__cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx] == TCG
    };
    std::arch::x86_64::__cpuid(1).ecx & HYPERVISOR != 0 && hypervisor_is_tcg()
}
