// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The CPUID leaves of the guest.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Leaf 1, ecx: a hypervisor is present, with leaves from 40000000h on.
const HYPERVISOR_PRESENT: u32 = 1 << 31;
/// Leaf 1, ecx: the local APIC timer has TSC deadline mode.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, edx: the count of logical processors in ebx is valid.
const HTT: u32 = 1 << 28;
/// Leaf 80000001h, ecx (AMD): HTT means cores, not threads.
const CMP_LEGACY: u32 = 1 << 1;
/// Leaf 80000001h, ecx (AMD): six performance counters.
const PERFCTR_CORE: u32 = 1 << 23;
/// Leaf 0, ebx: start of the vendor name "AuthenticAMD".
const VENDOR_AMD: u32 = u32::from_le_bytes(*b"Auth");

/// Returns the CPUID leaves of vCPU `index` of `cpus`. `supported` is the result of
/// `KVM_GET_SUPPORTED_CPUID`: the features that the host's processor and KVM support, with the ids
/// and topology of the host CPU that ran the ioctl. These leaves are changed:
///
/// - The APIC id (leaves 1, 0Bh, 1Fh, 8000001Eh) is the vCPU's index.
/// - The topology (leaves 1, 4, 0Bh, 1Fh, 80000001h, 80000008h, 8000001Dh, 8000001Eh) is one
///   package of `cpus` cores with one thread each. Cores share caches from the third level on.
/// - A hypervisor is announced, so that the kernel looks for kvm-clock.
/// - The local APIC timer has TSC deadline mode, so that the kernel need not calibrate the timer.
///   KVM always supports this mode, but old releases do not list it.
/// - Performance counters are hidden (leaves 0Ah, 80000001h, 80000022h). Nothing uses the counters,
///   and their probe by the kernel costs a dozen exits.
#[must_use]
pub fn cpuid(supported: &CpuId, index: u8, cpus: u8) -> CpuId {
    let (apic_id, cpu_count) = (u32::from(index), u32::from(cpus));
    // Number of bits of an APIC id that distinguish cores, and the highest id of so many bits.
    let core_bits = cpu_count.next_power_of_two().trailing_zeros();
    let highest_id = (1 << core_bits) - 1;
    let mut entries = supported.as_slice().to_vec();
    let leaf_0 = entries.iter().find(|entry| entry.function == 0).copied().unwrap_or_default();
    let (max_basic_leaf, is_amd) = (leaf_0.eax, leaf_0.ebx == VENDOR_AMD);

    // Remove the leaves with the topology of the host. The leaves with the topology of the guest
    // are added below.
    entries.retain(|entry| !matches!(entry.function, 0xb | 0x1f | 0x8000_0026));
    for entry in &mut entries {
        match entry.function {
            1 => {
                // ebx: number of logical processors (23:16), APIC id (31:24).
                entry.ebx = entry.ebx & 0xffff | cpu_count << 16 | apic_id << 24;
                entry.ecx |= HYPERVISOR_PRESENT | TSC_DEADLINE;
                set_bits(&mut entry.edx, HTT, cpus > 1);
            }
            4 => {
                set_cache_sharing(entry, highest_id);
                if cache_type(entry) != 0 {
                    // Bits 31:26: highest id of a core in the package.
                    entry.eax = entry.eax & 0x03ff_ffff | highest_id << 26;
                }
            }
            0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
            0x8000_0001 if is_amd => {
                set_bits(&mut entry.ecx, CMP_LEGACY, cpus > 1);
                entry.ecx &= !PERFCTR_CORE;
            }
            0x8000_0008 if is_amd => {
                // ecx: number of cores minus 1 (7:0), bits of an APIC id for cores (15:12).
                entry.ecx = entry.ecx & !0xf0ff | core_bits << 12 | cpu_count.saturating_sub(1)
            }
            0x8000_001d => set_cache_sharing(entry, highest_id),
            0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (apic_id, apic_id, 0),
            0x8000_0022 => (entry.eax, entry.ebx) = (0, 0),
            _ => {}
        }
    }
    for function in [0xb, 0x1f].into_iter().filter(|function| *function <= max_basic_leaf) {
        // Types of levels: 1 thread, 2 core, 0 end of the list. An APIC id, shifted right by
        // `shift`, is the id at the next level.
        for (level, level_type, shift, processor_count) in
            [(0, 1, 0, 1), (1, 2, core_bits, cpu_count), (2, 0, 0, 0)]
        {
            entries.push(kvm_cpuid_entry2 {
                function,
                index: level,
                flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                eax: shift,
                ebx: processor_count,
                ecx: level_type << 8 | level,
                edx: apic_id,
                ..Default::default()
            });
        }
    }
    CpuId::from_entries(&entries).expect("KVM lists far fewer leaves than it accepts")
}

/// Sets or clears bits of a register.
fn set_bits(register: &mut u32, bits: u32, is_set: bool) {
    *register = if is_set { *register | bits } else { *register & !bits };
}

/// Returns the cache type in a subleaf of leaf 4 or 8000001Dh; 0 after the last cache.
fn cache_type(entry: &kvm_cpuid_entry2) -> u32 {
    entry.eax & 0x1f
}

/// Sets the topology of a cache. All cores share a cache of the third level or above; each core has
/// its own caches below the third level.
fn set_cache_sharing(entry: &mut kvm_cpuid_entry2, highest_id: u32) {
    let level = entry.eax >> 5 & 7;
    if cache_type(entry) != 0 {
        let max_sharing_id = if level >= 3 { highest_id } else { 0 };
        entry.eax = entry.eax & !(0xfff << 14) | max_sharing_id << 14;
    }
}

#[cfg(test)]
mod tests;
