// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of the probe's VM: layout and page tables.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::kvm::aarch64::layout::{GIC_DISTRIBUTOR, SERIAL};

/// Size of memory in bytes, from address 0: a multiple of every page size.
pub(in crate::probe::test_vm) const MEMORY_SIZE: usize = 0x2_0000;

// Addresses. All but [`UNMAPPED_ADDRESS`] are guest-physical, and mapped to themselves.
/// Translation table of level 1; an entry maps 1 GiB.
pub(super) const LEVEL_1: u64 = 0x1000;
const LEVEL_2: u64 = 0x2000;
const LEVEL_3: u64 = 0x3000;
/// Code of EL1. It begins with the exception vectors.
pub(super) const KERNEL_TEXT: u64 = 0x8000;
/// Code of EL0.
pub(super) const USER_TEXT: u64 = 0xb000;
/// Address to which the payload writes its letters and reports. No memory is at this address, so
/// each write is an exit.
pub(super) const LETTER_PORT: u64 = SERIAL;
/// The physical page to which step G maps [`UNMAPPED_ADDRESS`].
pub(in crate::probe::test_vm) const MAPPED_PAGE: u64 = 0x1_0000;
/// A virtual address that is not mapped until step G has handled its page fault.
pub(super) const UNMAPPED_ADDRESS: u64 = 0x1_f000;
/// Address of the page table entry of [`UNMAPPED_ADDRESS`].
pub(super) const UNMAPPED_ENTRY: u64 = LEVEL_3 + UNMAPPED_ADDRESS / PAGE * 8;

const PAGE: u64 = 0x1000;
const BLOCK_SIZE: u64 = 0x20_0000;

/// `MAIR_EL1`: attribute 0 is device memory, 1 is normal memory.
pub(super) const MAIR: u64 = 0xff00;

/// `TCR_EL1`: 39-bit addresses (T0SZ 25), 4 KiB pages, tables in cacheable, inner shareable memory,
/// upper half disabled (EPD1).
pub(super) const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;

// Bits of descriptors (Arm ARM, DDI 0487, section D8.3).
const TABLE_DESCRIPTOR: u64 = 3;
const NORMAL_PAGE: u64 = 3 | 1 << 2 | 3 << 8 | 1 << 10;
const DEVICE_BLOCK: u64 = 1 | 1 << 10 | PXN | UXN;
/// AP: read-only in EL1 and EL0.
const READ_ONLY: u64 = 3 << 6;
/// Not executable in EL1.
const PXN: u64 = 1 << 53;
/// Not executable in EL0.
const UXN: u64 = 1 << 54;

/// Returns the page table entry of a data page of EL1.
pub(super) const fn data_entry(address: u64) -> u64 {
    address | NORMAL_PAGE | UXN
}

/// Returns the page table entry of an address.
fn page_entry(address: u64) -> u64 {
    match address {
        UNMAPPED_ADDRESS => 0,
        USER_TEXT => address | NORMAL_PAGE | READ_ONLY | PXN,
        _ => data_entry(address),
    }
}

/// Writes the page tables.
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`].
pub(super) fn write_tables(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let write_u64 = |value: u64, address: u64| memory.write_obj(value, GuestAddress(address));
    write_u64(LEVEL_2 | TABLE_DESCRIPTOR, LEVEL_1)?;
    write_u64(LEVEL_3 | TABLE_DESCRIPTOR, LEVEL_2)?;
    for device in [GIC_DISTRIBUTOR, LETTER_PORT] {
        write_u64(device | DEVICE_BLOCK, LEVEL_2 + device / BLOCK_SIZE * 8)?;
    }
    for address in (0..MEMORY_SIZE as u64 / PAGE).map(|page| page * PAGE) {
        write_u64(page_entry(address), LEVEL_3 + address / PAGE * 8)?;
    }
    Ok(())
}

// `write_tables` maps one block for the distributor and the first redistributor.
const _: () = assert!(
    crate::kvm::aarch64::layout::GIC_REDISTRIBUTORS
        + crate::kvm::aarch64::layout::GIC_REDISTRIBUTOR_SIZE
        <= GIC_DISTRIBUTOR + BLOCK_SIZE
);
