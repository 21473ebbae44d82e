// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory of the probe's VM: layout, page tables and descriptor tables.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use crate::kvm::x86_64::layout::LOCAL_APIC;

/// Size of memory in bytes, from address 0.
pub(in crate::probe::test_vm) const MEMORY_SIZE: usize = 0x2_0000;

// Addresses. All but [`UNMAPPED_ADDRESS`] are guest-physical, and mapped to themselves.
pub(super) const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PAGE_DIRECTORY: u64 = 0x3000;
const PAGE_TABLE: u64 = 0x4000;
const APIC_PAGE_DIRECTORY: u64 = 0x5000;
pub(super) const GDT: u64 = 0x6000;
pub(super) const TSS: u64 = 0x6100;
pub(super) const IDT: u64 = 0x7000;
/// Code of ring 0. It begins with the entry points of the 256 vectors, [`VECTOR_ENTRY_SIZE`] bytes
/// each.
pub(super) const KERNEL_TEXT: u64 = 0x8000;
/// Code of ring 3.
pub(super) const USER_TEXT: u64 = 0xb000;
/// Upper end of the stack of ring 3.
pub(super) const USER_STACK: u64 = 0xd000;
/// Upper end of the stack of ring 0.
pub(super) const KERNEL_STACK: u64 = 0xe000;
/// Upper end of the stack for unexpected exceptions and interrupts.
const FAULT_STACK: u64 = 0xf000;
/// The page of the payload's report.
pub(super) const REPORT_PAGE: u64 = 0xf000;
/// The physical page to which step G maps [`UNMAPPED_ADDRESS`].
pub(in crate::probe::test_vm) const MAPPED_PAGE: u64 = 0x1_0000;
/// A virtual address that is not mapped until step G has handled its page fault.
pub(super) const UNMAPPED_ADDRESS: u64 = 0x1_f000;
/// Address of the page table entry of [`UNMAPPED_ADDRESS`].
pub(super) const UNMAPPED_ENTRY: u64 = PAGE_TABLE + UNMAPPED_ADDRESS / PAGE * 8;

/// Size of a vector's entry point in bytes.
pub(super) const VECTOR_ENTRY_SIZE: u64 = 16;

const PAGE: u64 = 0x1000;

// Selectors, in the order that `syscall` and `sysret` require.
pub(super) const KERNEL_CODE: u16 = 0x08;
pub(super) const KERNEL_DATA: u16 = 0x10;
pub(super) const USER_CODE_32: u16 = 0x18;
pub(super) const USER_DATA: u16 = USER_CODE_32 + 8 + 3;
pub(super) const USER_CODE: u16 = USER_CODE_32 + 16 + 3;
pub(super) const TSS_SELECTOR: u16 = 0x30;

/// Returns the GDT: flat segments and the TSS (Intel SDM, volume 3,
/// sections 3.4.5 and 8.2.3).
fn gdt() -> [u64; 8] {
    [
        0,
        0x00af_9b00_0000_ffff, // Code, 64 bits, ring 0.
        0x00cf_9300_0000_ffff, // Data, ring 0.
        0x00cf_fb00_0000_ffff, // Code, 32 bits, ring 3: `sysret` adds 8 and 16 to its selector.
        0x00cf_f300_0000_ffff, // Data, ring 3.
        0x00af_fb00_0000_ffff, // Code, 64 bits, ring 3.
        0x0000_8900_0000_0067 | TSS << 16,
        0,
    ]
}

/// Encodes a 64-bit interrupt gate (Intel SDM, volume 3, section 7.14.1). `stack` is an index in
/// the TSS's interrupt stack table, or 0.
fn gate(handler: u64, stack: u64) -> [u64; 2] {
    let low = handler & 0xffff
        | u64::from(KERNEL_CODE) << 16
        | stack << 32
        | 0x8e00 << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Returns the page table entry of an address.
fn page_entry(address: u64) -> u64 {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER: u64 = 4;
    match address {
        0 | UNMAPPED_ADDRESS => 0,
        USER_TEXT..USER_STACK => address | PRESENT | WRITABLE | USER,
        _ => address | PRESENT | WRITABLE,
    }
}

/// Vectors with a handler of their own, and the handlers' addresses.
pub(super) type Handlers = [(u8, u64); 3];

/// Returns the IDT. Vectors that a step expects go to `handlers`. All other vectors go to the entry
/// points at [`KERNEL_TEXT`], which report the vector, and use [`FAULT_STACK`].
fn idt(handlers: &Handlers) -> [[u64; 2]; 256] {
    let mut gates =
        std::array::from_fn(|vector| gate(KERNEL_TEXT + VECTOR_ENTRY_SIZE * vector as u64, 1));
    for (vector, handler) in *handlers {
        gates[usize::from(vector)] = gate(handler, 0);
    }
    gates
}

/// Writes page tables, descriptor tables and TSS.
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`].
pub(super) fn write_tables(
    memory: &GuestMemoryMmap,
    handlers: &Handlers,
) -> Result<(), GuestMemoryError> {
    let write_u64 = |value: u64, address: u64| memory.write_obj(value, GuestAddress(address));
    // Upper entries are present, writable and for user mode, so the last level decides on access.
    write_u64(PDPT + 7, PML4)?;
    write_u64(PAGE_DIRECTORY + 7, PDPT)?;
    write_u64(APIC_PAGE_DIRECTORY + 7, PDPT + (LOCAL_APIC >> 30) * 8)?;
    write_u64(PAGE_TABLE + 7, PAGE_DIRECTORY)?;
    // 9Bh: present, writable, write-through, uncached, 2 MiB page; not for user mode.
    write_u64(LOCAL_APIC + 0x9b, APIC_PAGE_DIRECTORY + (LOCAL_APIC >> 21 & 511) * 8)?;
    for address in (0..MEMORY_SIZE as u64).step_by(0x1000) {
        write_u64(page_entry(address), PAGE_TABLE + address / PAGE * 8)?;
    }
    for (index, descriptor) in (0..).zip(gdt()) {
        write_u64(descriptor, GDT + index * 8)?;
    }
    for (index, half) in (0..).zip(idt(handlers).into_iter().flatten()) {
        write_u64(half, IDT + index * 8)?;
    }
    // RSP0 and IST1 of the TSS.
    write_u64(KERNEL_STACK, TSS + 4)?;
    write_u64(FAULT_STACK, TSS + 0x24)
}

#[cfg(test)]
mod tests;
