// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The MP table (Intel MultiProcessor Specification 1.4, chapter 4): processors and interrupt routes
//! for kernels without ACPI.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::LoadError;
use super::layout::{IO_APIC, LOCAL_APIC, MAX_CPUS, MP_TABLE};

/// Id of the I/O APIC: the first after those of all possible vCPUs, and below 15, which means
/// broadcast.
pub(super) const IO_APIC_ID: u8 = MAX_CPUS;

/// Size of the floating pointer structure; the configuration table follows it.
const POINTER_SIZE: u64 = 16;

/// Versions that KVM's APICs report (`APIC_VERSION` in `arch/x86/kvm/lapic.c`, `IOAPIC_VERSION_ID`
/// in `arch/x86/kvm/ioapic.h`).
const LOCAL_APIC_VERSION: u8 = 0x14;
const IO_APIC_VERSION: u8 = 0x11;

/// Id of the only bus.
const ISA: u8 = 0;

/// Kinds of an interrupt entry (table 4-10).
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

/// "All local APICs" as destination (table 4-12).
const ALL: u8 = 0xff;

/// Writes floating pointer and configuration table for `cpus` processors.
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), LoadError> {
    let table = MP_TABLE + POINTER_SIZE;
    let mut pointer = Vec::from(*b"_MP_");
    pointer.extend(low32(table).to_le_bytes());
    // Length in 16 bytes, specification 1.4, checksum, no default configuration, no IMCR.
    pointer.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    set_checksum(&mut pointer, 10);
    memory.write_slice(&pointer, GuestAddress(MP_TABLE))?;
    memory.write_slice(&configuration(cpus), GuestAddress(table))?;
    Ok(())
}

fn configuration(cpus: u8) -> Vec<u8> {
    let mut entries = Entries::default();
    for id in 0..cpus {
        // Enabled; the first is the boot processor.
        let flags = if id == 0 { 3 } else { 1 };
        entries.add(0, &[id, LOCAL_APIC_VERSION, flags]);
        // Signature and features, four bytes each, and eight reserved. The kernel uses CPUID instead.
        entries.bytes.extend([0; 16]);
    }
    entries.add(1, &[ISA]);
    entries.bytes.extend(*b"ISA   ");
    entries.add(2, &[IO_APIC_ID, IO_APIC_VERSION, 1]);
    entries.bytes.extend(low32(IO_APIC).to_le_bytes());
    // Every interrupt, the timer's too, goes to the pin of the same number, as KVM routes it
    // (`default_routing` in `arch/x86/kvm/irq_comm.c`). 2 is the 8259's cascade and never raised.
    for irq in (0..16).filter(|irq| *irq != 2) {
        entries.add(3, &[INT, 0, 0, ISA, irq, IO_APIC_ID, irq]);
    }
    entries.add(4, &[EXT_INT, 0, 0, ISA, 0, ALL, 0]);
    entries.add(4, &[NMI, 0, 0, ISA, 0, ALL, 1]);

    let header_size = 44;
    let length = u16::try_from(header_size + entries.bytes.len()).expect("fits in a KiB");
    let mut table = Vec::from(*b"PCMP");
    table.extend(length.to_le_bytes());
    // Specification 1.4, checksum.
    table.extend([4, 0]);
    table.extend(*b"SUDBOX  MICROVM     ");
    // No OEM table: a pointer, a size.
    table.extend([0; 6]);
    table.extend(entries.count.to_le_bytes());
    table.extend(low32(LOCAL_APIC).to_le_bytes());
    // No extended table: length, checksum, reserved.
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
    /// Adds an entry of type `kind` (table 4-3) with its first bytes.
    fn add(&mut self, kind: u8, bytes: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend(bytes);
        self.count += 1;
    }
}

/// Sets the byte at index `at` so that all bytes add up to 0.
fn set_checksum(bytes: &mut [u8], at: usize) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[at] = bytes[at].wrapping_sub(sum);
}

fn low32(address: u64) -> u32 {
    u32::try_from(address).expect("the layout has it below 4 GiB")
}

#[cfg(test)]
mod tests;
