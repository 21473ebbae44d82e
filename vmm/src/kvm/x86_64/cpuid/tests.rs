// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest's CPUID leaves for Intel and AMD hosts.

use super::*;

fn leaf(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
    let [eax, ebx, ecx, edx] = registers;
    kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
}

/// The leaves of an Intel host with its own topology: APIC id 19h, sixteen cores of two threads.
fn intel() -> CpuId {
    CpuId::from_entries(&[
        leaf(0, 0, [0x1f, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
        leaf(1, 0, [0x806f8, 0x1920_0800, 0x0000_2001, 0x1fab_fbff]),
        leaf(4, 0, [0xfc00_4121, 0x02c0_003f, 0x3f, 0]),
        leaf(4, 1, [0xfc00_4143, 0x03c0_003f, 0x7ff, 0]),
        leaf(4, 2, [0xfc1f_c163, 0x0380_003f, 0x1_bfff, 0]),
        leaf(4, 3, [0, 0, 0, 0]),
        leaf(0xa, 0, [0x0830_0805, 0, 0, 0x8604]),
        leaf(0xb, 0, [1, 2, 0x100, 0x19]),
        leaf(0xb, 1, [5, 32, 0x201, 0x19]),
        leaf(0x1f, 0, [1, 2, 0x100, 0x19]),
        leaf(0x4000_0001, 0, [0x0100_7efb, 0, 0, 0]),
        leaf(0x8000_0008, 0, [0x3030, 0, 0, 0]),
    ])
    .unwrap()
}

/// The leaves of an AMD host with many cores.
fn amd() -> CpuId {
    CpuId::from_entries(&[
        leaf(0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
        leaf(1, 0, [0x00a2_0f12, 0x0a0c_0800, 0x8000_2001, 0x178b_fbff]),
        leaf(0x8000_0001, 0, [0, 0, 0x00c0_01f3, 0]),
        leaf(0x8000_0008, 0, [0x3030, 0x1000, 0x0001_500b, 0]),
        leaf(0x8000_001d, 0, [0x0000_4121, 0x01c0_003f, 0x3f, 0]),
        leaf(0x8000_001d, 1, [0x0000_4163, 0x03c0_003f, 0x7fff, 0]),
        leaf(0x8000_001e, 0, [0x19, 0x105, 0x301, 0]),
        leaf(0x8000_0022, 0, [1, 6, 0, 0]),
        leaf(0x8000_0026, 0, [1, 2, 0x100, 0x19]),
    ])
    .unwrap()
}

/// Returns the registers eax, ebx, ecx and edx of a leaf; zeros without the leaf. Fails if the leaf
/// occurs twice.
fn read(cpuid: &CpuId, function: u32, index: u32) -> [u32; 4] {
    let mut entries =
        cpuid.as_slice().iter().filter(|entry| entry.function == function && entry.index == index);
    let entry = entries.next().copied().unwrap_or_default();
    assert!(entries.next().is_none(), "leaf {function:#x}.{index} occurs twice");
    [entry.eax, entry.ebx, entry.ecx, entry.edx]
}

#[test]
fn the_fourth_vcpu_has_apic_id_3_in_every_leaf() {
    let cpuid_intel = cpuid(&intel(), 3, 4);
    let [_, ebx, ecx, edx] = read(&cpuid_intel, 1, 0);
    assert_eq!(ebx, 0x0304_0800);
    assert_eq!(ecx, 0x8100_2001, "hypervisor, TSC deadline, and the host's features");
    assert_eq!(edx & 1 << 28, 1 << 28, "HTT");
    for function in [0xb, 0x1f] {
        // One thread per core; two bits for the core's id, four logical processors in the package;
        // end of the list.
        assert_eq!(read(&cpuid_intel, function, 0), [0, 1, 0x100, 3]);
        assert_eq!(read(&cpuid_intel, function, 1), [2, 4, 0x201, 3]);
        assert_eq!(read(&cpuid_intel, function, 2), [0, 0, 2, 3]);
    }
    let cpuid_amd = cpuid(&amd(), 3, 4);
    assert_eq!(read(&cpuid_amd, 0x8000_001e, 0), [3, 3, 0, 0]);
    assert_eq!(read(&cpuid_amd, 0xb, 1), [2, 4, 0x201, 3]);
    assert_eq!(read(&cpuid_amd, 0x8000_0026, 0), [0; 4], "topology of the host");
}

#[test]
fn cores_share_only_the_third_level_cache() {
    // Bits 25:14: number of sharing processors minus 1; bits 31:26: number of core ids minus 1.
    let intel = cpuid(&intel(), 0, 4);
    for (index, sharing) in [(0, 0), (1, 0), (2, 3)] {
        let [eax, ..] = read(&intel, 4, index);
        assert_eq!((eax >> 14 & 0xfff, eax >> 26), (sharing, 3), "leaf 4.{index}");
    }
    assert_eq!(read(&intel, 4, 3), [0; 4], "end of the list");
    assert_eq!(read(&intel, 4, 0)[0] & 0x3fff, 0x121);
    let amd = cpuid(&amd(), 0, 4);
    assert_eq!(read(&amd, 0x8000_001d, 0)[0], 0x121);
    assert_eq!(read(&amd, 0x8000_001d, 1)[0], 0x163 | 3 << 14);
}

#[test]
fn leaves_of_amd_processors_count_the_vcpus_as_cores() {
    for (cpus, core_count_ecx, cmp_legacy) in
        [(1, 0x0001_0000, 0), (4, 0x0001_2003, 2), (6, 0x0001_3005, 2)]
    {
        let cpuid = cpuid(&amd(), 0, cpus);
        assert_eq!(read(&cpuid, 0x8000_0008, 0)[2], core_count_ecx, "{cpus} CPUs");
        assert_eq!(read(&cpuid, 0x8000_0001, 0)[2] & 2, cmp_legacy, "{cpus} CPUs");
    }
    // The register is reserved on Intel processors.
    assert_eq!(read(&cpuid(&intel(), 0, 4), 0x8000_0008, 0)[2], 0);
}

#[test]
fn one_vcpu_is_reported_as_a_single_core() {
    let cpuid = cpuid(&intel(), 0, 1);
    let [_, ebx, _, edx] = read(&cpuid, 1, 0);
    assert_eq!((ebx >> 16 & 0xff, edx & 1 << 28), (1, 0));
    assert_eq!(read(&cpuid, 0xb, 1), [0, 1, 0x201, 0]);
    assert_eq!(read(&cpuid, 4, 0)[0] >> 26, 0);
}

#[test]
fn no_leaf_is_added_above_the_processors_maximum() {
    let old_processor = CpuId::from_entries(&[
        leaf(0, 0, [5, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
        leaf(1, 0, [0x0010_0f23, 0x0800, 0, 0]),
    ])
    .unwrap();
    let cpuid = cpuid(&old_processor, 1, 2);
    let functions: Vec<_> = cpuid.as_slice().iter().map(|entry| entry.function).collect();
    assert_eq!(functions, [0, 1]);
}

#[test]
fn performance_counters_are_hidden_and_other_leaves_unchanged() {
    let intel_host = intel();
    let patched = cpuid(&intel_host, 0, 2);
    assert_eq!(read(&patched, 0xa, 0), [0; 4]);
    assert_eq!(read(&patched, 0x4000_0001, 0), read(&intel_host, 0x4000_0001, 0));
    assert_eq!(read(&patched, 0, 0), read(&intel_host, 0, 0));
    let patched = cpuid(&amd(), 0, 2);
    assert_eq!(read(&patched, 0x8000_0022, 0), [0; 4]);
    assert_eq!(read(&patched, 0x8000_0001, 0)[2] & 1 << 23, 0);
}

/// KVM compares the index of a leaf only if the entry has this flag.
#[test]
fn indexed_leaves_have_the_significant_index_flag() {
    for entry in cpuid(&intel(), 0, 2).as_slice() {
        if matches!(entry.function, 0xb | 0x1f) {
            assert_eq!(entry.flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        }
    }
}
