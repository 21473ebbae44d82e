// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

fn memory_with_tables() -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
    write_tables(&memory, &[(6, 0x9006), (14, 0x900e), (0x40, 0x1234_5678_9040)]).unwrap();
    memory
}

fn read_u64(memory: &GuestMemoryMmap, address: u64) -> u64 {
    memory.read_obj(GuestAddress(address)).unwrap()
}

/// Walks the page tables (Intel SDM, volume 3, section 5.5.4). Returns the physical address and the
/// flags (present, writable, user) that all levels share, or `None` for a page fault.
fn walk(memory: &GuestMemoryMmap, address: u64) -> Option<(u64, u64)> {
    let (mut table, mut shared_flags) = (PML4, 7);
    for shift in [39, 30, 21, 12] {
        let entry = read_u64(memory, table + (address >> shift & 511) * 8);
        if entry & 1 == 0 {
            return None;
        }
        shared_flags &= entry;
        let base = entry & 0x000f_ffff_ffff_f000;
        if shift == 12 || entry & 0x80 != 0 {
            let offset = address & ((1 << shift) - 1);
            assert_eq!(
                base & ((1 << shift) - 1),
                0,
                "the entry for {address:x} has the unaligned base {base:x}"
            );
            return Some((base + offset, shared_flags));
        }
        table = base;
    }
    unreachable!("the last level always ends the walk");
}

#[test]
fn addresses_equal_physical_addresses_and_ring_3_reaches_only_its_code_and_stack() {
    let memory = memory_with_tables();
    for address in
        [REPORT_PAGE, KERNEL_TEXT, KERNEL_STACK - 8, FAULT_STACK - 8, IDT, GDT, MAPPED_PAGE]
    {
        assert_eq!(walk(&memory, address), Some((address, 3)), "{address:x}");
    }
    for address in [USER_TEXT, USER_STACK - 8] {
        assert_eq!(walk(&memory, address), Some((address, 7)), "{address:x}");
    }
    assert_eq!(walk(&memory, LOCAL_APIC + 0x380), Some((LOCAL_APIC + 0x380, 3)));
    for address in
        [0, UNMAPPED_ADDRESS, MEMORY_SIZE as u64, LOCAL_APIC - 0x20_0000, 1 << 30, 1 << 39]
    {
        assert_eq!(walk(&memory, address), None, "{address:x}");
    }
}

#[test]
fn the_unmapped_address_is_mapped_by_a_write_to_its_entry() {
    let memory = memory_with_tables();
    memory.write_obj(MAPPED_PAGE + 3, GuestAddress(UNMAPPED_ENTRY)).unwrap();
    assert_eq!(walk(&memory, UNMAPPED_ADDRESS + 8), Some((MAPPED_PAGE + 8, 3)));
}

#[test]
fn idt_entries_lead_to_the_given_handlers_or_the_default_entry_points() {
    let memory = memory_with_tables();
    // Offset, selector, stack and type of a gate.
    let gate = |vector: u64| {
        let low = read_u64(&memory, IDT + vector * 16);
        let high = read_u64(&memory, IDT + vector * 16 + 8);
        let offset = low & 0xffff | (low >> 48) << 16 | high << 32;
        (offset, low >> 16 & 0xffff, low >> 32 & 7, low >> 40 & 0xff)
    };
    let code = u64::from(KERNEL_CODE);
    assert_eq!(gate(6), (0x9006, code, 0, 0x8e));
    assert_eq!(gate(14), (0x900e, code, 0, 0x8e));
    assert_eq!(gate(0x40), (0x1234_5678_9040, code, 0, 0x8e));
    for vector in (0..256).filter(|vector| ![6, 14, 0x40].contains(vector)) {
        assert_eq!(gate(vector), (KERNEL_TEXT + 16 * vector, code, 1, 0x8e));
    }
}

#[test]
fn selectors_have_the_order_and_segments_that_syscall_and_sysret_require() {
    let descriptor = |selector: u16| gdt()[usize::from(selector / 8)];
    let is_64_bit = |descriptor: u64| descriptor >> 53 & 1;
    let ring = |descriptor: u64| descriptor >> 45 & 3;
    for (selector, expected) in
        [(KERNEL_CODE, (1, 0)), (KERNEL_DATA, (0, 0)), (USER_DATA, (0, 3)), (USER_CODE, (1, 3))]
    {
        let descriptor = descriptor(selector);
        assert_eq!((is_64_bit(descriptor), ring(descriptor)), expected, "{selector:x}");
        assert_eq!(u64::from(selector & 3), expected.1, "{selector:x}");
    }
    assert_eq!(KERNEL_DATA, KERNEL_CODE + 8);
    assert_eq!((USER_DATA & !3, USER_CODE & !3), (USER_CODE_32 + 8, USER_CODE_32 + 16));
    // Base and limit of the task state segment.
    assert_eq!(descriptor(TSS_SELECTOR) >> 16 & 0xff_ffff, TSS);
    assert_eq!(descriptor(TSS_SELECTOR) & 0xffff, 0x67);
}
