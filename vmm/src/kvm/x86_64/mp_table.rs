// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4): processors and interrupt
//! routes for kernels without ACPI.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::LoadError;
use super::layout::{IO_APIC, LOCAL_APIC, MAX_CPUS, MP_TABLE};

/// Id of the I/O APIC: the first id after those of all possible vCPUs. The id must be below 15, the
/// broadcast id.
pub(super) const IO_APIC_ID: u8 = MAX_CPUS;

/// Size of the floating pointer structure in bytes. The configuration table follows the structure.
const POINTER_SIZE: u64 = 16;

/// Versions that KVM's APICs report (`APIC_VERSION` in `arch/x86/kvm/lapic.c`, `IOAPIC_VERSION_ID`
/// in `arch/x86/kvm/ioapic.h`).
const LOCAL_APIC_VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x11;

/// Id of the only bus.
const ISA_BUS_ID: u8 = 0;

/// Entry types (table 4-3).
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC_ENTRY: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

/// Interrupt types of an interrupt entry (table 4-10).
const INTERRUPT_VECTORED: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTERNAL: u8 = 3;

/// "All local APICs" as destination (table 4-12).
const ALL_LOCAL_APICS: u8 = 0xff;

/// Writes floating pointer and configuration table for `cpus` processors.
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), LoadError> {
    let table_address = MP_TABLE + POINTER_SIZE;
    let mut pointer = Vec::from(*b"_MP_");
    pointer.extend(to_u32(table_address).to_le_bytes());
    // Length in units of 16 bytes, specification 1.4, checksum, no default configuration, no IMCR.
    pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    set_checksum(&mut pointer, 10);
    memory.write_slice(&pointer, GuestAddress(MP_TABLE))?;
    memory.write_slice(&configuration_table(cpus), GuestAddress(table_address))?;
    Ok(())
}

/// Returns the configuration table: header and entries.
fn configuration_table(cpus: u8) -> Vec<u8> {
    let mut entries = Entries::default();
    for id in 0..cpus {
        // Bit 0: enabled; bit 1: boot processor.
        let flags = if id == 0 { 3 } else { 1 };
        entries.add(PROCESSOR, &[id, LOCAL_APIC_VERSION, flags]);
        // CPU signature and feature flags, four bytes each, and eight reserved bytes. The kernel
        // uses CPUID instead of signature and flags.
        entries.bytes.extend([0; 16]);
    }
    entries.add(BUS, &[ISA_BUS_ID]);
    entries.bytes.extend(*b"ISA   ");
    entries.add(IO_APIC_ENTRY, &[IO_APIC_ID, IO_APIC_VERSION, 1]);
    entries.bytes.extend(to_u32(IO_APIC).to_le_bytes());
    // Every interrupt, including that of the timer, goes to the pin of the same number, as KVM
    // routes it (`default_routing` in `arch/x86/kvm/irq_comm.c`). IRQ 2 is the cascade of the 8259
    // and is never raised.
    for irq in (0..16).filter(|irq| *irq != 2) {
        entries.add(IO_INTERRUPT, &[INTERRUPT_VECTORED, 0, 0, ISA_BUS_ID, irq, IO_APIC_ID, irq]);
    }
    entries.add(LOCAL_INTERRUPT, &[INTERRUPT_EXTERNAL, 0, 0, ISA_BUS_ID, 0, ALL_LOCAL_APICS, 0]);
    entries.add(LOCAL_INTERRUPT, &[INTERRUPT_NMI, 0, 0, ISA_BUS_ID, 0, ALL_LOCAL_APICS, 1]);

    let header_size = 44;
    let length = u16::try_from(header_size + entries.bytes.len()).expect("fits in a KiB");
    let mut table = Vec::from(*b"PCMP");
    table.extend(length.to_le_bytes());
    // Specification 1.4, checksum.
    table.extend([4, 0]);
    table.extend(*b"SUDBOX  MICROVM     ");
    // Pointer and size of the OEM table, which does not exist.
    table.extend([0; 6]);
    table.extend(entries.count.to_le_bytes());
    table.extend(to_u32(LOCAL_APIC).to_le_bytes());
    // Length and checksum of the extended table, which does not exist, and a reserved byte.
    table.extend([0; 4]);
    table.extend(entries.bytes);
    set_checksum(&mut table, 7);
    table
}

/// Entries of the configuration table.
#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    count: u16,
}

impl Entries {
    /// Adds an entry of type `entry_type` with its first bytes.
    fn add(&mut self, entry_type: u8, bytes: &[u8]) {
        self.bytes.push(entry_type);
        self.bytes.extend(bytes);
        self.count += 1;
    }
}

/// Sets the byte at index `index` so that all bytes add up to 0.
fn set_checksum(bytes: &mut [u8], index: usize) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[index] = bytes[index].wrapping_sub(sum);
}

fn to_u32(address: u64) -> u32 {
    u32::try_from(address).expect("addresses of the layout are below 4 GiB")
}

#[cfg(test)]
mod tests;
