// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests that parse the table by the MultiProcessor Specification 1.4.

use vm_memory::GuestMemoryBackend as _;

use super::super::layout::BASE_MEMORY_END;
use super::*;

/// Writes the MP table. Returns the floating pointer structure and the configuration table.
fn write_and_read(cpus: u8) -> (Vec<u8>, Vec<u8>) {
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    write(&memory, cpus).unwrap();
    let read_bytes = |address: u64, length: usize| {
        let mut bytes = vec![0; length];
        memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    };
    let pointer = read_bytes(MP_TABLE, 16);
    let address = u64::from(u32::from_le_bytes(pointer[4..8].try_into().unwrap()));
    let length = memory.read_obj::<u16>(GuestAddress(address + 4)).unwrap();
    assert!(address + u64::from(length) <= BASE_MEMORY_END, "the table exceeds its KiB");
    assert!(memory.check_range(GuestAddress(address), usize::from(length)));
    (pointer, read_bytes(address, usize::from(length)))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Returns the entries after the header. The lengths are those of table 4-3.
fn entries(table: &[u8]) -> Vec<&[u8]> {
    let mut remaining = &table[44..];
    let mut entries = Vec::new();
    while let Some(entry_type) = remaining.first() {
        let length = match entry_type {
            0 => 20,
            1..=4 => 8,
            _ => panic!("an entry of type {entry_type}"),
        };
        let (entry, following) = remaining.split_at(length);
        entries.push(entry);
        remaining = following;
    }
    entries
}

#[test]
fn pointer_and_table_are_valid() {
    for cpus in 1..=MAX_CPUS {
        let (pointer, table) = write_and_read(cpus);
        assert_eq!(pointer[..4], *b"_MP_");
        assert_eq!(pointer[8..10], [1, 4], "16 bytes, version 1.4");
        assert_eq!(sum(&pointer), 0);
        assert_eq!(pointer[11], 0, "no default configuration");
        assert_eq!(table[..4], *b"PCMP");
        assert_eq!(table[6], 4);
        assert_eq!(sum(&table), 0);
        assert_eq!(u64::from(u32::from_le_bytes(table[36..40].try_into().unwrap())), LOCAL_APIC);
        let count = u16::from_le_bytes(table[34..36].try_into().unwrap());
        assert_eq!(usize::from(count), entries(&table).len());
        // Types come in ascending order (section 4.3).
        assert!(entries(&table).is_sorted_by_key(|entry| entry[0]));
    }
}

#[test]
fn every_processor_is_listed_and_the_first_is_the_boot_processor() {
    for cpus in 1..=MAX_CPUS {
        let (_, table) = write_and_read(cpus);
        let processors: Vec<_> =
            entries(&table).into_iter().filter(|entry| entry[0] == 0).collect();
        assert_eq!(processors.len(), usize::from(cpus));
        for (id, entry) in processors.iter().enumerate() {
            assert_eq!(usize::from(entry[1]), id);
            assert_eq!(entry[3], if id == 0 { 3 } else { 1 });
        }
    }
}

#[test]
fn interrupts_are_routed_as_in_kvm() {
    let (_, table) = write_and_read(8);
    let of_type =
        |entry_type: u8| entries(&table).into_iter().filter(move |entry| entry[0] == entry_type);
    let buses: Vec<_> = of_type(1).collect();
    assert_eq!(buses, [b"\x01\x00ISA   "]);
    let io_apics: Vec<_> = of_type(2).collect();
    assert_eq!(io_apics, [[2, 8, 0x11, 1, 0, 0, 0xc0, 0xfe]]);
    let routes: Vec<_> = of_type(3).map(|entry| (entry[5], entry[7])).collect();
    let expected: Vec<_> = (0..16).filter(|irq| *irq != 2).map(|irq| (irq, irq)).collect();
    assert_eq!(routes, expected);
    // Type 0 (vectored) and flags 0: trigger mode and polarity of the ISA bus, edge and active high.
    // Byte 6 is the id of the I/O APIC.
    assert!(of_type(3).all(|entry| entry[1..4] == [0, 0, 0] && entry[6] == 8));
    let local: Vec<_> = of_type(4).map(|entry| (entry[1], entry[6], entry[7])).collect();
    assert_eq!(local, [(3, 0xff, 0), (1, 0xff, 1)]);
}
