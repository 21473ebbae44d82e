// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests that interpret registers, descriptors and page tables as a processor does.

use kvm_bindings::kvm_segment;

use super::*;

const PVH: KernelEntry = KernelEntry::Pvh { entry: 0x100_0123 };
const LINUX: KernelEntry = KernelEntry::Linux64 { entry: 0x100_0200 };

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

/// Decodes the descriptor of `selector` as the processor does (Intel SDM 3A, 3.4.5).
fn load_descriptor(memory: &GuestMemoryMmap, table: &kvm_dtable, selector: u16) -> kvm_segment {
    let offset = u64::from(selector & !7);
    assert!(offset + 7 <= u64::from(table.limit), "selector {selector:#x} beyond the limit");
    let bytes = memory.read_obj::<u64>(GuestAddress(table.base + offset)).unwrap().to_le_bytes();
    let limit = u32::from(bytes[0]) | u32::from(bytes[1]) << 8 | u32::from(bytes[6] & 0xf) << 16;
    let g = bytes[6] >> 7;
    kvm_segment {
        base: u64::from(u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[7]])),
        limit: if g == 1 { limit << 12 | 0xfff } else { limit },
        selector,
        type_: bytes[5] & 0xf,
        s: bytes[5] >> 4 & 1,
        dpl: bytes[5] >> 5 & 3,
        present: bytes[5] >> 7,
        avl: bytes[6] >> 4 & 1,
        l: bytes[6] >> 5 & 1,
        db: bytes[6] >> 6 & 1,
        g,
        ..Default::default()
    }
}

#[test]
fn segments_match_their_descriptors() {
    for entry in [PVH, LINUX] {
        let memory = memory();
        write_gdt(&memory, &entry).unwrap();
        let mut sregs = kvm_sregs::default();
        let _ = boot_registers(&entry, &mut sregs);
        for segment in [sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr] {
            assert_eq!(load_descriptor(&memory, &sregs.gdt, segment.selector), segment);
            assert_eq!((segment.present, segment.dpl, segment.base), (1, 0, 0));
        }
        // The descriptor of a TSS has 16 bytes in 64-bit mode. The second eight contain the upper
        // half of the base.
        let upper = GDT + u64::from(sregs.tr.selector) + 8;
        assert_eq!(memory.read_obj::<u64>(GuestAddress(upper)).unwrap(), 0);
        assert!(upper + 7 <= GDT + u64::from(sregs.gdt.limit));
    }
}

/// `arch/x86/platform/pvh/head.S` lists the required state.
#[test]
fn pvh_begins_in_flat_protected_mode() {
    // CR0 after a reset (caches off, real mode), and other values that must be replaced.
    let mut sregs = kvm_sregs { cr0: 0x6000_0010, cr3: 5, cr4: 7, efer: 1, ..Default::default() };
    sregs.apic_base = 0xfee0_0900;
    let regs = boot_registers(&PVH, &mut sregs);
    assert_eq!((regs.rip, regs.rbx), (0x100_0123, PVH_START_INFO));
    assert_eq!(regs.rflags & (1 << 17 | 1 << 9 | 1 << 8), 0, "VM, IF, TF");
    // Bit 4, ET, cannot be cleared.
    assert_eq!(sregs.cr0 & !(1 << 4), 1);
    assert_eq!((sregs.cr4, sregs.efer), (0, 0));
    assert_eq!((sregs.cs.limit, sregs.cs.db, sregs.cs.l), (u32::MAX, 1, 0));
    assert_eq!(sregs.cs.type_ & 0b1010, 0b1010, "executable, readable");
    for segment in [sregs.ds, sregs.es] {
        assert_eq!((segment.limit, segment.db), (u32::MAX, 1));
        assert_eq!(segment.type_ & 0b1010, 0b0010, "writable");
    }
    assert_eq!((sregs.tr.limit, sregs.tr.type_, sregs.tr.s), (0x67, 0xb, 0));
    assert_eq!(sregs.apic_base, 0xfee0_0900, "unchanged");
}

/// `Documentation/arch/x86/boot.rst` lists the required state under "64-bit boot protocol".
#[test]
fn linux_begins_in_long_mode_with_paging() {
    let mut sregs = kvm_sregs::default();
    let regs = boot_registers(&LINUX, &mut sregs);
    assert_eq!((regs.rip, regs.rsi), (0x100_0200, ZERO_PAGE));
    assert_eq!(regs.rflags & 1 << 9, 0, "interrupts off");
    assert_eq!(sregs.cr0, 1 << 31 | 1 << 4 | 1);
    assert_eq!(sregs.cr3, PAGE_TABLES);
    assert_eq!(sregs.cr4, 1 << 5);
    assert_eq!(sregs.efer, 1 << 10 | 1 << 8);
    assert_eq!((sregs.cs.selector, sregs.cs.l, sregs.cs.db), (0x10, 1, 0), "__BOOT_CS");
    for segment in [sregs.ds, sregs.es, sregs.ss] {
        assert_eq!(segment.selector, 0x18, "__BOOT_DS");
    }
}

/// Translates an address by the page tables (Intel SDM 3A, 4.5). Returns `None` for a page fault.
fn translate(memory: &GuestMemoryMmap, root: u64, address: u64) -> Option<u64> {
    let mut table = root;
    for shift in [39, 30, 21, 12] {
        let index = address >> shift & 511;
        let entry = memory.read_obj::<u64>(GuestAddress(table + index * 8)).unwrap();
        if entry & 3 != 3 {
            return None;
        }
        let next = entry & 0x000f_ffff_ffff_f000;
        if entry & 1 << 7 != 0 {
            assert_eq!(shift, 21, "large pages of 2 MiB only");
            assert_eq!(next & 0x1f_ffff, 0);
            return Some(next | address & 0x1f_ffff);
        }
        table = next;
    }
    panic!("a page of 4 KiB");
}

#[test]
fn page_tables_map_four_gib_to_themselves_and_nothing_else() {
    let memory = memory();
    write_page_tables(&memory).unwrap();
    for large_page in 0..4 * 512 {
        for offset in [0, 0x1234, 0x1f_ffff] {
            let address = (large_page << 21) + offset;
            assert_eq!(translate(&memory, PAGE_TABLES, address), Some(address));
        }
    }
    for address in [1 << 32, (1 << 39) - 1, 1 << 39, 0x7fff_ffff_ffff, 0xffff_ffff_8000_0000] {
        assert_eq!(translate(&memory, PAGE_TABLES, address), None, "{address:#x}");
    }
}

#[test]
fn msrs_are_those_that_firmware_sets() {
    let msrs: Vec<_> = boot_msrs().iter().map(|msr| (msr.index, msr.data)).collect();
    assert_eq!(msrs, [(0x1a0, 0x1801), (0x2ff, 0x806)]);
}
