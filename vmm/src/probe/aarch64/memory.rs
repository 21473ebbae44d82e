//! The memory of the probe's VM: where things are, and page tables.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::kvm::aarch64::layout::{GIC_DISTRIBUTOR, SERIAL};

/// Bytes of memory the payload needs, from address 0; a multiple of every size of a page.
pub(in crate::probe) const SIZE: usize = 0x2_0000;

// Guest-physical addresses. All but [`ABSENT`] are mapped to themselves.
/// The table of level 1, whose entries are for a GiB each.
pub(super) const GIBS: u64 = 0x1000;
const BLOCKS: u64 = 0x2000;
const PAGES: u64 = 0x3000;
/// Code of EL1; the vectors come first.
pub(super) const KERNEL: u64 = 0x8000;
/// Code of EL0.
pub(super) const USER: u64 = 0xb000;
/// Where the payload writes its letters and reports: no memory is there.
pub(super) const PORT: u64 = SERIAL;
/// The page that step G gives to [`ABSENT`].
pub(in crate::probe) const GIVEN: u64 = 0x1_0000;
/// A virtual address without a page until its fault is handled.
pub(super) const ABSENT: u64 = 0x1_f000;
/// The entry of [`ABSENT`] in the page table.
pub(super) const ABSENT_ENTRY: u64 = PAGES + ABSENT / PAGE * 8;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;

/// Kinds of memory by the number that stands in an entry (`MAIR_EL1`): 0 is a device's, 1 ordinary.
pub(super) const KINDS: u64 = 0xff00;

/// `TCR_EL1`: 39 bits of address, pages of 4 KiB, tables in ordinary memory, none of the upper half.
pub(super) const TRANSLATION: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;

// Bits of entries (Arm ARM, DDI 0487, section D8.3).
const TABLE: u64 = 3;
const NORMAL_PAGE: u64 = 3 | 1 << 2 | 3 << 8 | 1 << 10;
const DEVICE_BLOCK: u64 = 1 | 1 << 10 | NOT_EL1 | NOT_EL0;
const READ_ONLY_FOR_ALL: u64 = 3 << 6;
/// No instructions of EL1, of EL0.
const NOT_EL1: u64 = 1 << 53;
const NOT_EL0: u64 = 1 << 54;

/// The entry for a page of EL1's data at this address.
pub(super) const fn data_entry(address: u64) -> u64 {
    address | NORMAL_PAGE | NOT_EL0
}

/// An entry of the page table for the page at this address.
fn page_entry(address: u64) -> u64 {
    match address {
        ABSENT => 0,
        USER => address | NORMAL_PAGE | READ_ONLY_FOR_ALL | NOT_EL1,
        _ => data_entry(address),
    }
}

/// Writes the page tables.
///
/// # Errors
/// If the memory is smaller than [`SIZE`].
pub(super) fn write_tables(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let put = |value: u64, address: u64| memory.write_obj(value, GuestAddress(address));
    put(BLOCKS | TABLE, GIBS)?;
    put(PAGES | TABLE, BLOCKS)?;
    for device in [GIC_DISTRIBUTOR, PORT] {
        put(device | DEVICE_BLOCK, BLOCKS + device / BLOCK * 8)?;
    }
    for address in (0..SIZE as u64 / PAGE).map(|page| page * PAGE) {
        put(page_entry(address), PAGES + address / PAGE * 8)?;
    }
    Ok(())
}

// One block holds the distributor and the first redistributor, which the payload uses.
const _: () = assert!(
    crate::kvm::aarch64::layout::GIC_REDISTRIBUTORS
        + crate::kvm::aarch64::layout::GIC_REDISTRIBUTOR_SIZE
        <= GIC_DISTRIBUTOR + BLOCK
);
