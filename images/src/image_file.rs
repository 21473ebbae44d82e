// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Kernel images that are there already: what they are, and whether they are whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::arch::{self, Arch};
use crate::compression::Compression;

/// A kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    /// Its canonical path.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// The release it says it is, where the format carries one.
    pub release: Option<String>,
}

/// Formats of kernel images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// An ELF vmlinux.
    Vmlinux,
    /// A bzImage: setup code, then the compressed kernel.
    BzImage,
    /// What the other architectures boot: an Image with a header of 64 bytes, the bzImage of s390.
    Image,
}

/// Offsets of the x86 setup header (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
mod setup {
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const SYSSIZE: usize = 0x1f4;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const KERNEL_VERSION: usize = 0x20e;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(super) const END: usize = 0x268;
    /// XLF_KERNEL_64: it has a 64-bit entry point.
    pub(super) const KERNEL_64: u16 = 1;
}

/// An image that carries its own decompressor as an EFI program
/// (drivers/firmware/efi/libstub/zboot-header.S): x86 has none, and QEMU boots none.
const EFI_ZBOOT: (usize, &[u8]) = (4, b"zimg");

/// The magic numbers of an Image (Documentation/arch/riscv/boot-image-header.rst,
/// Documentation/arch/arm64/booting.rst).
const IMAGES: [(&[u8], Arch); 2] = [(b"RSC\x05", Arch::Riscv64), (b"ARM\x64", Arch::Aarch64)];

/// Offsets of the header of an Image, in which the two agree.
mod header {
    pub(super) const IMAGE_SIZE: usize = 16;
    pub(super) const MAGIC: usize = 56;
    pub(super) const END: usize = 64;
}

/// Where a kernel for s390 says that it is one (`LINUX_MAGIC_ADDR`, arch/s390/boot/head.S).
const S390_MAGIC: (u64, &[u8; 6]) = (0x10008, b"S390EP");

/// ELF identification and header fields (elf(5)).
mod elf {
    pub(super) const HEADER: usize = 64;
    pub(super) const CLASS_64: u8 = 2;
    pub(super) const LITTLE: u8 = 1;
    pub(super) const BIG: u8 = 2;
    pub(super) const TYPE_EXEC: u16 = 2;
    pub(super) const TYPE_DYN: u16 = 3;
    pub(super) const PROGRAM_HEADER: usize = 56;
    pub(super) const LOAD: u32 = 1;
}

/// Says what a file is, or why it is no kernel that can boot.
pub(crate) fn inspect(path: &Path, arch: Arch) -> Result<ImageFile, String> {
    let cannot = |e: io::Error| format!("cannot be read: {e}");
    let meta = std::fs::metadata(path).map_err(cannot)?;
    if !meta.is_file() {
        return Err("neither a file nor a directory".into());
    }
    let file = File::open(path).map_err(cannot)?;
    let mut head = Vec::new();
    (&file).take(4096).read_to_end(&mut head).map_err(cannot)?;
    let image = |format, release| ImageFile { path: path.to_owned(), format, release };
    if head.is_empty() {
        return Err("the file is empty".into());
    }
    if head.starts_with(b"\x7fELF") {
        check_elf(&file, &head, meta.len(), arch)?;
        return Ok(image(Format::Vmlinux, None));
    }
    if head.get(setup::MAGIC..setup::MAGIC + 4) == Some(b"HdrS") {
        let release = check_bzimage(&file, &head, meta.len(), arch)?;
        return Ok(image(Format::BzImage, release));
    }
    let magic = head.get(header::MAGIC..header::MAGIC + 4);
    if let Some((_, its)) = IMAGES.iter().find(|(known, _)| magic == Some(known)) {
        check_image(&head, meta.len(), *its, arch)?;
        return Ok(image(Format::Image, None));
    }
    if head.get(EFI_ZBOOT.0..EFI_ZBOOT.0 + 4) == Some(EFI_ZBOOT.1) {
        return Err("compressed for EFI (zboot); name the Image that it holds".into());
    }
    let mut magic = [0; S390_MAGIC.1.len()];
    if file.read_exact_at(&mut magic, S390_MAGIC.0).is_ok() && magic == *S390_MAGIC.1 {
        if arch != Arch::S390x {
            return Err(format!("a bzImage for s390x, not for {}", arch.name()));
        }
        return Ok(image(Format::Image, None));
    }
    if let Some(compression) = Compression::of(&head) {
        return Err(format!("compressed with {}; unpack it first", compression.name()));
    }
    if head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Err("a text file, not a kernel; name a vmlinux or bzImage".into());
    }
    Err("not a kernel: neither an ELF vmlinux nor a bzImage".into())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn check_elf(file: &File, head: &[u8], size: u64, arch: Arch) -> Result<(), String> {
    let truncated = || "truncated: the file ends before its ELF segments do".to_owned();
    if head.len() < elf::HEADER {
        return Err(truncated());
    }
    let (machine, order) = match head[5] {
        elf::BIG => (u16_at(head, 18).swap_bytes(), elf::BIG),
        _ => (u16_at(head, 18), elf::LITTLE),
    };
    if head[4] != elf::CLASS_64 || head[5] != order || machine != arch::facts(arch).elf_machine {
        return Err(format!(
            "an ELF file for another machine ({machine}), not for {}",
            arch.name()
        ));
    }
    let bootable = (arch::facts(arch).image)("");
    if !bootable.elf {
        return Err(format!("an ELF file, which cannot be booted; name its {}", bootable.file));
    }
    let kind = u16_at(head, 16);
    if kind != elf::TYPE_EXEC && kind != elf::TYPE_DYN {
        return Err("an ELF object or core file, not a vmlinux".into());
    }
    let (offset, count) = (u64_at(head, 32), usize::from(u16_at(head, 56)));
    let mut table = vec![0; count * elf::PROGRAM_HEADER];
    file.read_exact_at(&mut table, offset).map_err(|_| truncated())?;
    let mut end = None;
    let mut lowest_address = u64::MAX;
    for header in table.chunks_exact(elf::PROGRAM_HEADER) {
        if u32_at(header, 0) == elf::LOAD {
            end = end.max(u64_at(header, 8).checked_add(u64_at(header, 32)));
            lowest_address = lowest_address.min(u64_at(header, 16));
        } else if u32_at(header, 0) == 3 {
            return Err("an ELF program with an interpreter, not a vmlinux".into());
        }
    }
    match end {
        None => Err("an ELF file without anything to load, not a vmlinux".into()),
        Some(end) if end > size => Err(truncated()),
        // The kernel is linked into the upper half of the address space; programs are not.
        Some(_) if lowest_address >> 63 == 0 && kind == elf::TYPE_DYN => {
            Err("an ELF program or library, not a vmlinux".into())
        }
        Some(_) => Ok(()),
    }
}

fn check_image(head: &[u8], size: u64, its: Arch, arch: Arch) -> Result<(), String> {
    if arch != its {
        return Err(format!("an Image for {}, not for {}", its.name(), arch.name()));
    }
    if head.len() < header::END {
        return Err("truncated: the file ends in its header".into());
    }
    // What the kernel takes in memory; zeros at its end are not in the file.
    if size > u64_at(head, header::IMAGE_SIZE) {
        return Err("longer than its header says, so not an Image".into());
    }
    Ok(())
}

fn check_bzimage(
    file: &File,
    head: &[u8],
    size: u64,
    arch: Arch,
) -> Result<Option<String>, String> {
    if arch != Arch::X86_64 {
        return Err(format!("a bzImage, so for x86_64 and not for {}", arch.name()));
    }
    if head.len() < setup::END || u16_at(head, setup::BOOT_FLAG) != 0xaa55 {
        return Err("truncated: the file ends in the setup header".into());
    }
    // 0 means 4, says the boot protocol.
    let sectors = match head[setup::SETUP_SECTS] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let whole = (sectors + 1) * 512 + u64::from(u32_at(head, setup::SYSSIZE)) * 16;
    if size < whole {
        return Err(format!("truncated: {size} bytes of at least {whole} are there"));
    }
    if u16_at(head, setup::VERSION) < 0x020c
        || u16_at(head, setup::XLOADFLAGS) & setup::KERNEL_64 == 0
    {
        return Err("a bzImage without a 64-bit entry, so not for x86_64".into());
    }
    let at = u64::from(u16_at(head, setup::KERNEL_VERSION));
    let mut text = [0; 128];
    let count = if at == 0 { 0 } else { file.read_at(&mut text, at + 0x200).unwrap_or(0) };
    let release = text[..count]
        .split(|byte| *byte == 0 || *byte == b' ')
        .next()
        .and_then(|word| std::str::from_utf8(word).ok())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(release.map(str::to_owned))
}

#[cfg(test)]
mod tests;
