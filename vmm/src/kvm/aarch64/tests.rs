// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of loading: the contents of guest memory after generated kernels are loaded, and the
//! errors for invalid kernels. Tests of the addresses of the devices.

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

/// Creates an Image like that of Linux 6.12: text_offset 0, 2 MiB including `.bss`, little-endian.
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

fn read_bytes(memory: &GuestMemoryMmap, address: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

#[test]
fn kernel_initramfs_and_device_tree_are_at_their_addresses() {
    let memory = memory(64 * MIB);
    let entry = load_into(&memory, &image(), "console=ttyS0").unwrap();
    assert_eq!(entry, KernelEntry { entry: MEMORY_START, device_tree: MEMORY_START + 62 * MIB });
    assert_eq!(read_bytes(&memory, MEMORY_START + 64, 7), b"kernel!");
    assert_eq!(read_bytes(&memory, entry.device_tree - PAGE_SIZE, INITRAMFS.len()), INITRAMFS);
    let tree = read_bytes(&memory, entry.device_tree, 0x2000);
    assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    let contains = |text: &[u8]| tree.windows(text.len()).any(|window| window == text);
    assert!(contains(b"console=ttyS0\0"));
    assert!(contains(b"cpu@1\0") && !contains(b"cpu@2\0"));
    let start = (entry.device_tree - PAGE_SIZE).to_be_bytes();
    let end = (entry.device_tree - PAGE_SIZE + INITRAMFS.len() as u64).to_be_bytes();
    assert!(contains(&start) && contains(&end));
}

#[test]
fn the_kernel_is_loaded_at_its_text_offset() {
    // `image_size` 0: a kernel before Linux 3.17.
    let mut old_image = image();
    old_image[16..24].fill(0);
    let entry = load_into(&memory(64 * MIB), &old_image, "").unwrap().entry;
    assert_eq!(entry, MEMORY_START + 0x8_0000);
    let mut image_with_offset = image();
    image_with_offset[8..16].copy_from_slice(&0x20_0000_u64.to_le_bytes());
    let entry = load_into(&memory(64 * MIB), &image_with_offset, "").unwrap().entry;
    assert_eq!(entry, MEMORY_START + 0x20_0000);
}

#[test]
fn invalid_files_are_refused() {
    let memory = memory(16 * MIB);
    let load_error = |image: &[u8], cmdline: &str| load_into(&memory, image, cmdline).unwrap_err();
    assert!(matches!(load_error(b"short", ""), LoadError::NotAKernel { .. }));
    assert!(matches!(load_error(&[0x1f; 200], ""), LoadError::NotAKernel { .. }));
    let mut big_endian = image();
    big_endian[24] |= 1;
    assert!(matches!(load_error(&big_endian, ""), LoadError::BigEndian { .. }));
    // Offset 8 is `text_offset`, offset 16 `image_size`.
    for (offset, value) in [(16, 15 * MIB), (16, u64::MAX), (8, 13 * MIB), (8, u64::MAX)] {
        let mut too_big = image();
        too_big[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        let error = load_error(&too_big, "");
        assert!(matches!(error, LoadError::KernelTooBig { .. }), "{offset} {value:x}");
    }
    let mut without_space = image();
    without_space[16..24].copy_from_slice(&(14 * MIB).to_le_bytes());
    assert!(matches!(
        load_error(&without_space, ""),
        LoadError::InitramfsTooBig { available_size: 0, .. }
    ));
    let long_cmdline = "x".repeat(CMDLINE_SIZE);
    assert!(matches!(load_error(&image(), &long_cmdline), LoadError::CommandLineTooLong { .. }));
    assert!(matches!(load_error(&image(), "a\0b"), LoadError::CommandLineNul));
    let small = GuestMemoryMmap::from_ranges(&memory_ranges(MIB)).unwrap();
    let error = load_into(&small, &image(), "").unwrap_err();
    assert!(matches!(error, LoadError::KernelTooBig { .. }), "{error}");
}

fn bus_and_screen() -> (Bus, Screen) {
    let screen = Screen::default();
    let serial = Serial::new(event(), Box::new(screen.clone()));
    (Bus::new(serial, Driver::new(Weak::new()).transport), screen)
}

fn mmio_read(bus: &Bus, addr: u64, len: usize) -> Vec<u8> {
    let mut data = vec![0xaa; len];
    bus.mmio_read(addr, &mut data);
    data
}

#[test]
fn devices_are_at_the_addresses_of_the_layout() {
    let (bus, screen) = bus_and_screen();
    for byte in b"boot\n" {
        bus.mmio_write(SERIAL, &[*byte]);
    }
    assert_eq!(screen.text(), b"boot\n");
    assert_eq!(mmio_read(&bus, SERIAL + 5, 1), [0x60], "LSR: the transmitter is empty");
    bus.mmio_write(SERIAL + 7, &[0x5a]);
    assert_eq!(
        mmio_read(&bus, SERIAL + 7, 1),
        [0x5a],
        "the scratch register, by which drivers detect a 16550"
    );
    assert_eq!(mmio_read(&bus, VSOCK_MMIO, 4), *b"virt");
}

#[test]
fn a_wide_access_covers_consecutive_registers() {
    let (bus, screen) = bus_and_screen();
    bus.mmio_write(SERIAL + 7, &[0x11, 0x22, 0x33, 0x44]);
    assert_eq!(mmio_read(&bus, SERIAL + 7, 4), [0x11, 0xff, 0xff, 0xff]);
    bus.mmio_write(SERIAL, &[b'x', 0]);
    assert_eq!(screen.text(), b"x");
    for addr in [0, SERIAL - 1, SERIAL + 8, VSOCK_MMIO - 1, VSOCK_MMIO + VSOCK_MMIO_SIZE, u64::MAX]
    {
        assert_eq!(mmio_read(&bus, addr, 8), [0xff; 8], "{addr:x}");
        bus.mmio_write(addr, &[b'y'; 8]);
    }
    assert_eq!(screen.text(), b"x");
}
