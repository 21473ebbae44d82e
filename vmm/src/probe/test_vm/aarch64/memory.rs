// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of the probe's VM: layout and page tables.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::kvm::aarch64::layout::{GIC_DISTRIBUTOR, SERIAL};

/// Size of memory in bytes, from address 0: a multiple of every page size.
pub(in crate::probe::test_vm) const SIZE: usize = 0x2_0000;

// Guest-physical addresses. All but [`ABSENT`] are mapped to themselves.
/// Translation table of level 1; an entry maps 1 GiB.
pub(super) const LEVEL_1: u64 = 0x1000;
const LEVEL_2: u64 = 0x2000;
const LEVEL_3: u64 = 0x3000;
/// Code of EL1. It begins with the exception vectors.
pub(super) const KERNEL: u64 = 0x8000;
/// Code of EL0.
pub(super) const USER: u64 = 0xb000;
/// Address to which the payload writes its letters and reports. It is not memory.
pub(super) const PORT: u64 = SERIAL;
/// The page to which step G maps [`ABSENT`].
pub(in crate::probe::test_vm) const GIVEN: u64 = 0x1_0000;
/// A virtual address that is not mapped until its page fault is handled.
pub(super) const ABSENT: u64 = 0x1_f000;
/// Address of the page table entry of [`ABSENT`].
pub(super) const ABSENT_ENTRY: u64 = LEVEL_3 + ABSENT / PAGE * 8;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;

/// `MAIR_EL1`: attribute 0 is device memory, 1 is normal memory.
pub(super) const MAIR: u64 = 0xff00;

/// `TCR_EL1`: 39-bit addresses, 4 KiB pages, tables in normal memory, upper half disabled.
pub(super) const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;

// Bits of descriptors (Arm ARM, DDI 0487, section D8.3).
const TABLE: u64 = 3;
const NORMAL_PAGE: u64 = 3 | 1 << 2 | 3 << 8 | 1 << 10;
const DEVICE_BLOCK: u64 = 1 | 1 << 10 | PXN | UXN;
const READ_ONLY_FOR_ALL: u64 = 3 << 6;
/// PXN and UXN: not executable in EL1, in EL0.
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

/// Returns the page table entry of a data page of EL1.
pub(super) const fn data_entry(address: u64) -> u64 {
    address | NORMAL_PAGE | UXN
}

/// Returns the page table entry of an address.
fn page_entry(address: u64) -> u64 {
    match address {
        ABSENT => 0,
        USER => address | NORMAL_PAGE | READ_ONLY_FOR_ALL | PXN,
        _ => data_entry(address),
    }
}

/// Writes the page tables.
///
/// # Errors
/// If the memory is smaller than [`SIZE`].
pub(super) fn write_tables(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let put = |value: u64, address: u64| memory.write_obj(value, GuestAddress(address));
    put(LEVEL_2 | TABLE, LEVEL_1)?;
    put(LEVEL_3 | TABLE, LEVEL_2)?;
    for device in [GIC_DISTRIBUTOR, PORT] {
        put(device | DEVICE_BLOCK, LEVEL_2 + device / BLOCK * 8)?;
    }
    for address in (0..SIZE as u64 / PAGE).map(|page| page * PAGE) {
        put(page_entry(address), LEVEL_3 + address / PAGE * 8)?;
    }
    Ok(())
}

// One block holds the distributor and the first redistributor, which the payload uses.
const _: () = assert!(
    crate::kvm::aarch64::layout::GIC_REDISTRIBUTORS
        + crate::kvm::aarch64::layout::GIC_REDISTRIBUTOR_SIZE
        <= GIC_DISTRIBUTOR + BLOCK
);
