// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of loading: generated files, and the memory contents that a kernel finds. Invalid files are
//! refused with their names.

use std::fs;
use std::sync::Weak;

use tempfile::TempDir;

use super::layout::*;
use super::*;
use crate::kvm::bus::Bus;
use crate::kvm::load::PAGE_SIZE;
use crate::kvm::serial::Serial;
use crate::kvm::serial::tests::Screen;
use crate::virtio::driver::{Driver, event};

const MIB: u64 = 1 << 20;
const INITRAMFS: &[u8] = b"070701, an archive of some length";

/// An Image like that of Linux 6.12: no offset, 2 MiB including `.bss`, little-endian.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[16..24].copy_from_slice(&(2 * MIB).to_le_bytes());
    bytes[24] = 0b1010;
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes[64..71].copy_from_slice(b"kernel!");
    bytes
}

fn memory(bytes: u64) -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&memory_ranges(bytes)).unwrap()
}

fn load_into(
    memory: &GuestMemoryMmap,
    image: &[u8],
    cmdline: &str,
) -> Result<KernelEntry, LoadError> {
    let dir = TempDir::new().unwrap();
    let (kernel, initramfs) = (dir.path().join("Image"), dir.path().join("initramfs"));
    fs::write(&kernel, image).unwrap();
    fs::write(&initramfs, INITRAMFS).unwrap();
    load(memory, &kernel, &initramfs, cmdline, 2)
}

fn bytes(memory: &GuestMemoryMmap, at: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

#[test]
fn kernel_initramfs_and_device_tree_are_at_their_addresses() {
    let memory = memory(64 * MIB);
    let entry = load_into(&memory, &image(), "console=ttyS0").unwrap();
    assert_eq!(entry, KernelEntry { entry: MEMORY_START, device_tree: MEMORY_START + 62 * MIB });
    assert_eq!(bytes(&memory, MEMORY_START + 64, 7), b"kernel!");
    assert_eq!(bytes(&memory, entry.device_tree - PAGE_SIZE, INITRAMFS.len()), INITRAMFS);
    let tree = bytes(&memory, entry.device_tree, 0x2000);
    assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    let has = |text: &[u8]| tree.windows(text.len()).any(|window| window == text);
    assert!(has(b"console=ttyS0\0"));
    assert!(has(b"cpu@1\0") && !has(b"cpu@2\0"));
    let start = (entry.device_tree - PAGE_SIZE).to_be_bytes();
    let end = (entry.device_tree - PAGE_SIZE + INITRAMFS.len() as u64).to_be_bytes();
    assert!(has(&start) && has(&end));
}

#[test]
fn text_offset_is_respected() {
    let mut old = image();
    old[16..24].fill(0);
    assert_eq!(load_into(&memory(64 * MIB), &old, "").unwrap().entry, MEMORY_START + 0x8_0000);
    let mut moved = image();
    moved[8..16].copy_from_slice(&0x20_0000_u64.to_le_bytes());
    assert_eq!(load_into(&memory(64 * MIB), &moved, "").unwrap().entry, MEMORY_START + 0x20_0000);
}

#[test]
fn invalid_files_are_refused() {
    let memory = memory(16 * MIB);
    let refused = |image: &[u8], cmdline: &str| load_into(&memory, image, cmdline).unwrap_err();
    assert!(matches!(refused(b"short", ""), LoadError::NotAKernel { .. }));
    assert!(matches!(refused(&[0x1f; 200], ""), LoadError::NotAKernel { .. }));
    let mut big = image();
    big[24] |= 1;
    assert!(matches!(refused(&big, ""), LoadError::BigEndian { .. }));
    for (at, value) in [(16, 15 * MIB), (16, u64::MAX), (8, 13 * MIB), (8, u64::MAX)] {
        let mut large = image();
        large[at..at + 8].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(refused(&large, ""), LoadError::KernelTooBig { .. }), "{at} {value:x}");
    }
    let mut full = image();
    full[16..24].copy_from_slice(&(14 * MIB).to_le_bytes());
    assert!(matches!(refused(&full, ""), LoadError::InitramfsTooBig { room: 0, .. }));
    let long = "x".repeat(CMDLINE_SIZE);
    assert!(matches!(refused(&image(), &long), LoadError::CommandLineTooLong { .. }));
    assert!(matches!(refused(&image(), "a\0b"), LoadError::CommandLineNul));
    let small = GuestMemoryMmap::from_ranges(&memory_ranges(MIB)).unwrap();
    let error = load_into(&small, &image(), "").unwrap_err();
    assert!(matches!(error, LoadError::KernelTooBig { .. }), "{error}");
}

fn bus() -> (Bus, Screen) {
    let screen = Screen::default();
    let serial = Serial::new(event(), Box::new(screen.clone()));
    (Bus::new(serial, Driver::new(Weak::new()).transport), screen)
}

fn mmio(bus: &Bus, addr: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xaa; len];
    bus.mmio_read(addr, &mut data);
    data
}

#[test]
fn devices_are_at_the_addresses_of_the_layout() {
    let (bus, screen) = bus();
    for byte in b"boot\n" {
        bus.mmio_write(SERIAL, &[*byte]);
    }
    assert_eq!(screen.text(), b"boot\n");
    assert_eq!(mmio(&bus, SERIAL + 5, 1), [0x60], "ready for the next");
    bus.mmio_write(SERIAL + 7, &[0x5a]);
    assert_eq!(
        mmio(&bus, SERIAL + 7, 1),
        [0x5a],
        "the scratch register, by which a 16550 is known"
    );
    assert_eq!(mmio(&bus, VSOCK_MMIO, 4), *b"virt");
}

#[test]
fn a_wide_access_covers_consecutive_registers() {
    let (bus, screen) = bus();
    bus.mmio_write(SERIAL + 7, &[0x11, 0x22, 0x33, 0x44]);
    assert_eq!(mmio(&bus, SERIAL + 7, 4), [0x11, 0xff, 0xff, 0xff]);
    bus.mmio_write(SERIAL, &[b'x', 0]);
    assert_eq!(screen.text(), b"x");
    for addr in [0, SERIAL - 1, SERIAL + 8, VSOCK_MMIO - 1, VSOCK_MMIO + VSOCK_MMIO_SIZE, u64::MAX]
    {
        assert_eq!(mmio(&bus, addr, 8), [0xff; 8], "{addr:x}");
        bus.mmio_write(addr, &[b'y'; 8]);
    }
    assert_eq!(screen.text(), b"x");
}
