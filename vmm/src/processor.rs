// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tells a real processor from QEMU's emulation.

/// Returns true if this program is known to run on QEMU's emulation: times say nothing of a processor
/// then, neither here nor in VMs on its KVM. An emulated model of a real processor is not recognised
/// everywhere.
#[must_use]
pub fn is_emulated() -> bool {
    emulated()
}

/// TCG names itself in CPUID leaf 40000000h, as hypervisors do (QEMU's target/i386/cpu.c).
#[cfg(target_arch = "x86_64")]
fn emulated() -> bool {
    const TCG: [u32; 3] =
        [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")];
    /// CPUID.1:ECX: a hypervisor is present.
    const HYPERVISOR: u32 = 1 << 31;
    let says = || {
        let leaf = std::arch::x86_64::__cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx] == TCG
    };
    std::arch::x86_64::__cpuid(1).ecx & HYPERVISOR != 0 && says()
}

/// QEMU's model `max` has implementer 0, which is not assigned, and part number 51h (QEMU's
/// target/arm/tcg/cpu64.c, `aarch64_max_tcg_initfn()`). Its models of real processors cannot be told
/// from them.
#[cfg(target_arch = "aarch64")]
fn emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| is_max(&text))
}

/// Always false: there is no known way to tell.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn emulated() -> bool {
    false
}

/// Returns true if `/proc/cpuinfo` is that of QEMU's model `max`.
#[cfg(any(target_arch = "aarch64", test))]
fn is_max(cpuinfo: &str) -> bool {
    let has = |name: &str, value: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(left, right)| left.trim() == name && right.trim() == value)
    };
    has("CPU implementer", "0x00") && has("CPU part", "0x051")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_max_is_told_by_its_part() {
        let max = "processor\t: 0\nCPU implementer\t: 0x00\nCPU part\t: 0x051\nCPU revision\t: 0\n";
        assert!(is_max(max));
        assert!(!is_max(&max.replace("0x051", "0xd0c").replace("0x00", "0x41")));
        assert!(!is_max(""));
    }
}
