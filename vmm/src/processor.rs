//! Whether this machine's processor is one.

/// Whether QEMU's emulation is known to be what runs this program: its clock says nothing of a processor
/// then, and neither do those of VMs on its KVM. An emulation that passes for another processor is not
/// known.
#[must_use]
pub fn is_emulated() -> bool {
    emulated()
}

/// QEMU's TCG says who it is where hypervisors do (target/i386/cpu.c, leaf 4000_0000h).
#[cfg(target_arch = "x86_64")]
fn emulated() -> bool {
    const TCG: [u32; 3] =
        [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")];
    /// Of CPUID.1:ECX: there is a hypervisor.
    const HYPERVISOR: u32 = 1 << 31;
    let says = || {
        let leaf = std::arch::x86_64::__cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx] == TCG
    };
    std::arch::x86_64::__cpuid(1).ecx & HYPERVISOR != 0 && says()
}

/// QEMU's model `max` has the part number `Q` of an implementer that is none (target/arm/tcg/cpu64.c,
/// `aarch64_max_tcg_initfn()`); what it emulates of processors that there are says that it is them.
#[cfg(target_arch = "aarch64")]
fn emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| is_max(&text))
}

/// Nothing tells.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
fn emulated() -> bool {
    false
}

/// Whether that is the model `max`.
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
