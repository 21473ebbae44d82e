// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::compression::tests::{COMPRESSORS, compress};

/// Creates a vmlinux with a loaded segment and a segment of notes, the last of which is the PVH note
/// if `has_pvh_note`.
fn vmlinux(has_pvh_note: bool) -> Vec<u8> {
    let mut elf = vec![0; 64 + 2 * 56];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 2;
    let body = elf.len();
    elf.extend(b"..Linux version %s\0Linux version 6.12.1-x (a@b) #1\0virtio_mmio.device\0");
    elf.resize(elf.len().next_multiple_of(4), 0);
    let notes = elf.len();
    for (note_type, size) in [(6_u32, 8_u32), (if has_pvh_note { 18 } else { 19 }, 4)] {
        elf.extend([4_u32, size, note_type].iter().flat_map(|word| word.to_le_bytes()));
        elf.extend(b"Xen\0");
        elf.resize(elf.len() + size as usize, 1);
    }
    let end = elf.len();
    let mut write_program_header = |at: usize, segment_type: u8, offset: usize, size: usize| {
        elf[at] = segment_type;
        elf[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
        elf[at + 32..at + 40].copy_from_slice(&(size as u64).to_le_bytes());
    };
    // PT_LOAD and PT_NOTE.
    write_program_header(64, 1, body, end - body);
    write_program_header(120, 4, notes, end - notes);
    elf
}

fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 5 * 512 + 64];
    image[setup::SETUP_SECTS] = 4;
    image[setup::PAYLOAD_OFFSET] = 64;
    image[setup::PAYLOAD_LENGTH..setup::PAYLOAD_LENGTH + 4]
        .copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image.extend(payload);
    image.resize(image.len() + 100, 0xcc);
    image
}

#[test]
fn facts_are_found_in_a_vmlinux() {
    let elf = vmlinux(true);
    let facts = vmlinux_facts(&elf);
    assert!(facts.has_pvh_entry && facts.takes_command_line_devices, "{facts:?}");
    assert_eq!(facts.release.as_deref(), Some("6.12.1-x"));
    assert_eq!(facts.config, None);
    assert!(!vmlinux_facts(&vmlinux(false)).has_pvh_entry);
    assert_eq!(loaded_end(&elf), Some(elf.len()));
    for length in 0..elf.len() {
        let _ = vmlinux_facts(&elf[..length]);
    }
}

#[test]
fn the_configuration_in_an_image_is_found() {
    let Some(gz) = compress(&["gzip", "-n"], b"CONFIG_A=y\n") else { panic!("gzip") };
    let elf = [&vmlinux(true)[..], CONFIG_BEGIN, &gz, CONFIG_END].concat();
    assert_eq!(vmlinux_facts(&elf).config.as_deref(), Some("CONFIG_A=y\n"));
}

#[test]
fn payloads_are_unpacked_and_damaged_payloads_refused() {
    let elf = vmlinux(true);
    let size = u32::try_from(elf.len()).unwrap().to_le_bytes();
    for (compression, command) in COMPRESSORS {
        let Some(mut payload) = compress(command, &elf) else {
            eprintln!("NOT RUN: {} is not installed", command[0]);
            continue;
        };
        if compression != Compression::Gzip {
            payload.extend(size);
        }
        let image = bzimage(&payload);
        assert_eq!(unpack(&image).unwrap().as_deref(), Some(&elf[..]), "{command:?}");
        let reason = unpack(&image[..image.len() - 110]).unwrap_err().to_string();
        assert!(reason.starts_with("truncated"), "{reason}");
        let last = payload.len() - 1;
        payload[last] ^= 1;
        let reason = unpack(&bzimage(&payload)).unwrap_err().to_string();
        assert!(reason.contains(compression.name()) && reason.contains("damaged"), "{reason}");
    }
    assert_eq!(unpack(&bzimage(b"\x89LZO and more")).unwrap(), None);
}
