//! The memory of the probe's VM: where things are, page tables and descriptor tables.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::kvm::x86_64::layout::LOCAL_APIC;

/// Bytes of memory the payload needs, from address 0.
pub(in crate::probe) const SIZE: usize = 0x2_0000;

// Guest-physical addresses. All but [`ABSENT`] are mapped to themselves.
pub(super) const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const TABLE: u64 = 0x4000;
const APIC_DIRECTORY: u64 = 0x5000;
pub(super) const GDT: u64 = 0x6000;
pub(super) const TSS: u64 = 0x6100;
pub(super) const IDT: u64 = 0x7000;
/// Code of ring 0; the 256 entries of the vectors come first, [`ENTRY`] bytes each.
pub(super) const KERNEL: u64 = 0x8000;
/// Code of ring 3.
pub(super) const USER: u64 = 0xb000;
/// Where the stacks begin, downwards.
pub(super) const USER_STACK: u64 = 0xd000;
pub(super) const KERNEL_STACK: u64 = 0xe000;
const FAULT_STACK: u64 = 0xf000;
pub(super) const REPORT: u64 = 0xf000;
/// The page that step G gives to [`ABSENT`].
pub(in crate::probe) const GIVEN: u64 = 0x1_0000;
/// A virtual address without a page until its fault is handled.
pub(super) const ABSENT: u64 = 0x1_f000;
/// The entry of [`ABSENT`] in the page table.
pub(super) const ABSENT_ENTRY: u64 = TABLE + ABSENT / PAGE * 8;

/// Size of a vector's entry.
pub(super) const ENTRY: u64 = 16;

const PAGE: u64 = 0x1000;

// Selectors, in the order that `syscall` and `sysret` demand.
pub(super) const KERNEL_CODE: u16 = 0x08;
pub(super) const KERNEL_DATA: u16 = 0x10;
pub(super) const USER_CODE_32: u16 = 0x18;
pub(super) const USER_DATA: u16 = USER_CODE_32 + 8 + 3;
pub(super) const USER_CODE: u16 = USER_CODE_32 + 16 + 3;
pub(super) const TASK: u16 = 0x30;

/// The global descriptor table: flat segments and the task state segment (Intel SDM, volume 3,
/// sections 3.4.5 and 8.2.3).
fn gdt() -> [u64; 8] {
    [
        0,
        0x00af_9b00_0000_ffff, // Code, 64 bits, ring 0.
        0x00cf_9300_0000_ffff, // Data, ring 0.
        0x00cf_fb00_0000_ffff, // Code, 32 bits, ring 3: `sysret` counts from here.
        0x00cf_f300_0000_ffff, // Data, ring 3.
        0x00af_fb00_0000_ffff, // Code, 64 bits, ring 3.
        0x0000_8900_0000_0067 | TSS << 16,
        0,
    ]
}

/// A 64-bit interrupt gate (Intel SDM, volume 3, section 7.14.1), with a stack of the TSS's
/// interrupt stack table or, if 0, the ordinary one.
fn gate(handler: u64, stack: u64) -> [u64; 2] {
    let low = handler & 0xffff
        | u64::from(KERNEL_CODE) << 16
        | stack << 32
        | 0x8e00 << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// An entry of the page table for the page at this address.
fn page_entry(address: u64) -> u64 {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER_TOO: u64 = 4;
    match address {
        0 | ABSENT => 0,
        USER..USER_STACK => address | PRESENT | WRITABLE | USER_TOO,
        _ => address | PRESENT | WRITABLE,
    }
}

/// The entries of vectors that have a handler of their own: vector and address.
pub(super) type Handlers = [(u8, u64); 3];

/// The interrupt descriptor table: what a step expects goes to its handler, all else to the entry
/// at [`KERNEL`] that reports it, on a stack of its own.
fn idt(handlers: &Handlers) -> [[u64; 2]; 256] {
    let mut gates = std::array::from_fn(|vector| gate(KERNEL + ENTRY * vector as u64, 1));
    for (vector, handler) in *handlers {
        gates[usize::from(vector)] = gate(handler, 0);
    }
    gates
}

/// Writes all tables.
///
/// # Errors
/// If the memory is smaller than [`SIZE`].
pub(super) fn write_tables(
    memory: &GuestMemoryMmap,
    handlers: &Handlers,
) -> Result<(), GuestMemoryError> {
    let put = |value: u64, address: u64| memory.write_obj(value, GuestAddress(address));
    // Present, writable, and for ring 3 too: the last level decides.
    put(PDPT + 7, PML4)?;
    put(DIRECTORY + 7, PDPT)?;
    put(APIC_DIRECTORY + 7, PDPT + (LOCAL_APIC >> 30) * 8)?;
    put(TABLE + 7, DIRECTORY)?;
    // 2 MiB, uncached, for ring 0.
    put(LOCAL_APIC + 0x9b, APIC_DIRECTORY + (LOCAL_APIC >> 21 & 511) * 8)?;
    for address in (0..SIZE as u64).step_by(0x1000) {
        put(page_entry(address), TABLE + address / PAGE * 8)?;
    }
    for (index, descriptor) in (0..).zip(gdt()) {
        put(descriptor, GDT + index * 8)?;
    }
    for (index, half) in (0..).zip(idt(handlers).into_iter().flatten()) {
        put(half, IDT + index * 8)?;
    }
    put(KERNEL_STACK, TSS + 4)?;
    put(FAULT_STACK, TSS + 0x24)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> GuestMemoryMmap {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        write_tables(&memory, &[(6, 0x9006), (14, 0x900e), (0x40, 0x1234_5678_9040)]).unwrap();
        memory
    }

    fn get(memory: &GuestMemoryMmap, address: u64) -> u64 {
        memory.read_obj(GuestAddress(address)).unwrap()
    }

    /// Walks the page tables (Intel SDM, volume 3, section 5.5.4). The physical address and the
    /// flags that all levels share, or `None`.
    fn walk(memory: &GuestMemoryMmap, address: u64) -> Option<(u64, u64)> {
        let (mut table, mut shared) = (PML4, 7);
        for shift in [39, 30, 21, 12] {
            let entry = get(memory, table + (address >> shift & 511) * 8);
            if entry & 1 == 0 {
                return None;
            }
            shared &= entry;
            let base = entry & 0x000f_ffff_ffff_f000;
            if shift == 12 || entry & 0x80 != 0 {
                let offset = address & ((1 << shift) - 1);
                assert_eq!(base & ((1 << shift) - 1), 0, "{address:x} is not aligned");
                return Some((base + offset, shared));
            }
            table = base;
        }
        unreachable!("the last level always ends the walk");
    }

    #[test]
    fn pages_are_mapped_to_themselves_and_only_ring_3s_are_for_ring_3() {
        let memory = written();
        for address in [REPORT, KERNEL, KERNEL_STACK - 8, FAULT_STACK - 8, IDT, GDT, GIVEN] {
            assert_eq!(walk(&memory, address), Some((address, 3)), "{address:x}");
        }
        for address in [USER, USER_STACK - 8] {
            assert_eq!(walk(&memory, address), Some((address, 7)), "{address:x}");
        }
        assert_eq!(walk(&memory, LOCAL_APIC + 0x380), Some((LOCAL_APIC + 0x380, 3)));
        for address in [0, ABSENT, SIZE as u64, LOCAL_APIC - 0x20_0000, 1 << 30, 1 << 39] {
            assert_eq!(walk(&memory, address), None, "{address:x}");
        }
    }

    #[test]
    fn the_absent_page_comes_with_its_entry() {
        let memory = written();
        memory.write_obj(GIVEN + 3, GuestAddress(ABSENT_ENTRY)).unwrap();
        assert_eq!(walk(&memory, ABSENT + 8), Some((GIVEN + 8, 3)));
    }

    #[test]
    fn gates_lead_where_they_should() {
        let memory = written();
        // Offset, selector, stack and type of a gate.
        let gate = |vector: u64| {
            let (low, high) =
                (get(&memory, IDT + vector * 16), get(&memory, IDT + vector * 16 + 8));
            let offset = low & 0xffff | (low >> 48) << 16 | high << 32;
            (offset, low >> 16 & 0xffff, low >> 32 & 7, low >> 40 & 0xff)
        };
        let code = u64::from(KERNEL_CODE);
        assert_eq!(gate(6), (0x9006, code, 0, 0x8e));
        assert_eq!(gate(14), (0x900e, code, 0, 0x8e));
        assert_eq!(gate(0x40), (0x1234_5678_9040, code, 0, 0x8e));
        for vector in (0..256).filter(|vector| ![6, 14, 0x40].contains(vector)) {
            assert_eq!(gate(vector), (KERNEL + 16 * vector, code, 1, 0x8e));
        }
    }

    #[test]
    fn selectors_name_the_segments_that_syscall_and_sysret_take() {
        let descriptor = |selector: u16| gdt()[usize::from(selector / 8)];
        let (long, ring) = (|d: u64| d >> 53 & 1, |d: u64| d >> 45 & 3);
        for (selector, expected) in
            [(KERNEL_CODE, (1, 0)), (KERNEL_DATA, (0, 0)), (USER_DATA, (0, 3)), (USER_CODE, (1, 3))]
        {
            let d = descriptor(selector);
            assert_eq!((long(d), ring(d)), expected, "{selector:x}");
            assert_eq!(u64::from(selector & 3), expected.1, "{selector:x}");
        }
        assert_eq!(KERNEL_DATA, KERNEL_CODE + 8);
        assert_eq!((USER_DATA & !3, USER_CODE & !3), (USER_CODE_32 + 8, USER_CODE_32 + 16));
        // Base and limit of the task state segment.
        assert_eq!(descriptor(TASK) >> 16 & 0xff_ffff, TSS);
        assert_eq!(descriptor(TASK) & 0xffff, 0x67);
    }
}
