// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks the tables against the fields of the specification, and with ACPICA's compiler.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use super::super::layout::{HIGH_MEMORY, MAX_CPUS};
use super::*;

/// Returns the table with this signature.
fn table(cpus: u8, signature: &[u8]) -> Table {
    tables(cpus).into_iter().find(|table| table.bytes.starts_with(signature)).unwrap()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[test]
fn tables_do_not_overlap_and_are_in_the_bios_area() {
    for cpus in 1..=MAX_CPUS {
        let mut all = tables(cpus);
        all.sort_by_key(|table| table.address);
        assert_eq!(all[0].address, ACPI);
        for (table, next) in all.iter().zip(all.iter().skip(1)) {
            assert!(table.address + table.bytes.len() as u64 <= next.address);
        }
        let last = all.last().unwrap();
        assert!(last.address + last.bytes.len() as u64 <= HIGH_MEMORY);
        assert!(all.iter().all(|table| table.address % 16 == 0));
    }
}

#[test]
fn pointers_lead_from_the_rsdp_to_every_table() {
    let all = tables(4);
    let table_at = |address| &all.iter().find(|table| table.address == address).unwrap().bytes;
    let rsdp = table_at(RSDP);
    assert!(rsdp.starts_with(b"RSD PTR "));
    // ACPI 6.5, table 5.3: revision, both checksums, length, XSDT.
    assert_eq!(rsdp[15], 2);
    assert_eq!((sum(&rsdp[..20]), sum(rsdp)), (0, 0));
    assert_eq!(u32_at(rsdp, 20), 36);
    let xsdt = table_at(u64_at(rsdp, 24));
    assert!(xsdt.starts_with(b"XSDT"));
    let fadt = table_at(u64_at(xsdt, 36));
    let madt = table_at(u64_at(xsdt, 44));
    assert_eq!(xsdt.len(), 52);
    assert!(fadt.starts_with(b"FACP"));
    assert!(madt.starts_with(b"APIC"));
    let dsdt = table_at(u64_at(fadt, 140));
    assert!(dsdt.starts_with(b"DSDT"));
    for table in [xsdt, fadt, madt, dsdt] {
        assert_eq!(u32_at(table, 4) as usize, table.len());
        assert_eq!(sum(table), 0);
    }
}

#[test]
fn the_fadt_is_hardware_reduced_and_restarts_by_the_keyboard_controller() {
    let fadt = table(1, b"FACP").bytes;
    // ACPI 6.5, table 5.9: IAPC_BOOT_ARCH, flags, RESET_REG, RESET_VALUE.
    assert_eq!(fadt[109..111], [0x24, 0]);
    let flags = u32_at(&fadt, 112);
    assert_eq!(flags & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10);
    assert_eq!(fadt[116..120], [1, 8, 0, 1]);
    assert_eq!(u64_at(&fadt, 120), 0x64);
    assert_eq!(fadt[128], 0xfe);
    assert_eq!(fadt.len(), 276);
}

#[test]
fn the_madt_has_every_processor_and_one_io_apic() {
    for cpus in 1..=MAX_CPUS {
        let madt = table(cpus, b"APIC").bytes;
        assert_eq!(u64::from(u32_at(&madt, 36)), LOCAL_APIC);
        let mut entries = &madt[44..];
        for id in 0..cpus {
            // Local APIC (5.2.12.2): length, processor's UID, APIC id, enabled.
            assert_eq!(entries[..8], [0, 8, id, id, 1, 0, 0, 0]);
            entries = &entries[8..];
        }
        // I/O APIC (5.2.12.3): an id that no processor has, address, first interrupt.
        assert_eq!(entries[..4], [1, 12, IO_APIC_ID, 0]);
        assert!(IO_APIC_ID >= cpus);
        assert_eq!(u64::from(u32_at(entries, 4)), IO_APIC);
        assert_eq!(u32_at(entries, 8), 0);
        assert_eq!(entries.len(), 12);
    }
}

/// Runs `iasl` in `folder`, which must succeed, and returns its output.
fn iasl(folder: &Path, arguments: &[&str]) -> String {
    let result = Command::new("iasl").args(arguments).current_dir(folder).output().unwrap();
    let output =
        [result.stdout, result.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let output = output.concat();
    assert!(result.status.success(), "iasl {arguments:?}: {output}");
    for complaint in ["Error", "Warning", "Invalid", "checksum"] {
        let without_zero_counts = output.replace("0 Errors", "").replace("0 Warnings", "");
        assert!(!without_zero_counts.contains(complaint), "iasl {arguments:?}: {output}");
    }
    output
}

/// Disassembles every table except the RSDP, which has no standard header, and compiles the
/// results. Both steps must succeed without a complaint and produce the same bytes.
#[test]
fn acpica_disassembles_and_recompiles_the_tables() {
    if Command::new("iasl").arg("-v").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "iasl (package acpica-tools) is not installed");
        // cargo hides the output of eprintln! for tests that pass.
        let _ = writeln!(io::stderr(), "NOT RUN: iasl (package acpica-tools) is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, signature) in
        [("dsdt", "DSDT"), ("fadt", "FACP"), ("madt", "APIC"), ("xsdt", "XSDT")]
    {
        let bytes = table(4, signature.as_bytes()).bytes;
        fs::write(folder.path().join(format!("{name}.aml")), &bytes).unwrap();
        iasl(folder.path(), &["-d", &format!("{name}.aml")]);
        iasl(folder.path(), &["-p", "recompiled", &format!("{name}.dsl")]);
        let recompiled = fs::read(folder.path().join("recompiled.aml")).unwrap();
        // The compiler writes its own name and version as creator (bytes 28 to 35), so the checksum
        // (byte 9) differs too.
        let without_creator = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[9] = 0;
            bytes[28..36].fill(0);
            bytes
        };
        assert_eq!(without_creator(&recompiled), without_creator(&bytes), "{name}");
    }
    let dsdt = fs::read_to_string(folder.path().join("dsdt.dsl")).unwrap();
    for line in [
        r#"Name (_HID, "LNRO0005")"#,
        "0xC0000000,         // Address Base",
        "0x00001000,         // Address Length",
        "0x00000005,",
        r#"Name (_HID, EisaId ("PNP0501"#,
        "0x03F8,             // Range Minimum",
        "0x00000004,",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )",
    ] {
        assert!(dsdt.contains(line), "{line} in {dsdt}");
    }
}
