// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// Inspects a file with these bytes. Returns the message of an error.
fn inspect_bytes(bytes: &[u8]) -> Result<ImageFile, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    inspect(file.path(), Arch::X86_64).map_err(|reason| reason.to_string())
}

/// Creates a bzImage of boot protocol 2.15; offsets as in [`setup`].
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 5 * 512 + 4096];
    image[0x1f1] = 4;
    image[0x1f4..0x1f8].copy_from_slice(&256u32.to_le_bytes());
    image[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    image[0x236] = 1;
    image[0x300..0x30f].copy_from_slice(b"6.12.117 (x@y)\0");
    image
}

/// Creates an x86-64 vmlinux with one PT_LOAD segment; offsets as in `Elf64_Ehdr` and `Elf64_Phdr`.
fn vmlinux() -> Vec<u8> {
    let mut image = vec![0; 64 + 56 + 100];
    image[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    image[16] = 2;
    image[18] = 62;
    image[32] = 64;
    image[54] = 56;
    image[56] = 1;
    image[64] = 1;
    image[64 + 8] = 120;
    image[64 + 16..64 + 24].copy_from_slice(&0xffff_ffff_8100_0000u64.to_le_bytes());
    image[64 + 32] = 100;
    image
}

#[test]
fn complete_images_are_recognised() {
    let image = inspect_bytes(&bzimage()).unwrap();
    assert_eq!(image.format, Format::BzImage);
    assert_eq!(image.release.as_deref(), Some("6.12.117"));
    assert_eq!(inspect_bytes(&vmlinux()).unwrap().format, Format::Vmlinux);
}

#[test]
fn images_truncated_after_their_magic_number_are_reported_as_truncated() {
    for (image, magic_end) in [(bzimage(), 0x206), (vmlinux(), 4)] {
        for length in magic_end..image.len() {
            let reason = inspect_bytes(&image[..length]).unwrap_err();
            assert!(reason.starts_with("truncated"), "{length}: {reason}");
        }
    }
}

#[test]
fn an_image_for_another_architecture_is_refused() {
    for (magic, arch) in IMAGE_MAGIC_NUMBERS {
        let mut image = vec![0; 4096];
        image[16..24].copy_from_slice(&8192u64.to_le_bytes());
        image[56..60].copy_from_slice(magic);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &image).unwrap();
        let found = inspect(file.path(), arch).unwrap();
        assert_eq!(found.format, Format::Image);
        let reason = inspect_bytes(&image).unwrap_err();
        assert!(reason.contains(&format!("for {}", arch.name())), "{reason}");
        std::fs::write(file.path(), vmlinux()).unwrap();
        assert!(inspect(file.path(), arch).unwrap_err().to_string().contains("another machine"));
    }
}

#[test]
fn a_kernel_for_s390_is_recognised() {
    let mut image = vec![0; 0x11000];
    image[0x10008..0x1000e].copy_from_slice(b"S390EP");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image).unwrap();
    assert_eq!(inspect(file.path(), Arch::S390x).unwrap().format, Format::Image);
    assert!(inspect_bytes(&image).unwrap_err().contains("for s390x"));
    let mut elf = vmlinux();
    elf[5] = 2;
    elf[18..20].copy_from_slice(&22u16.to_be_bytes());
    std::fs::write(file.path(), elf).unwrap();
    let reason = inspect(file.path(), Arch::S390x).unwrap_err().to_string();
    assert!(reason.contains("name its arch/s390/boot/bzImage"), "{reason}");
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let mut aarch64_elf = vmlinux();
    aarch64_elf[18] = 183;
    let mut without_64_bit_entry = bzimage();
    without_64_bit_entry[0x236] = 0;
    let mut zboot = vec![0; 100];
    zboot[4..8].copy_from_slice(b"zimg");
    for (bytes, word) in [
        (zboot, "compressed for EFI"),
        (aarch64_elf, "another machine"),
        (without_64_bit_entry, "64-bit"),
        (b"#!/bin/sh\n".to_vec(), "text"),
        (b"\x1f\x8b\x08".to_vec(), "gzip"),
        (vec![0; 100], "not a kernel"),
        (Vec::new(), "empty"),
    ] {
        let reason = inspect_bytes(&bytes).unwrap_err();
        assert!(reason.contains(word), "{reason}");
    }
    let program = inspect(Path::new("/proc/self/exe"), Arch::X86_64).unwrap_err().to_string();
    assert!(program.contains("ELF program"), "{program}");
}
