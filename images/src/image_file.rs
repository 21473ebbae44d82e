// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recognises the format of kernel images, and checks that they are not truncated.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{ET_DYN, ET_EXEC, FileHeader64, PT_INTERP, PT_LOAD, ProgramHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::arch::{self, Arch};
use crate::compression::Compression;

/// A kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    /// Canonical path.
    pub path: PathBuf,
    /// Format.
    pub format: Format,
    /// Release, if the header has one.
    pub release: Option<String>,
}

/// Formats of kernel images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// An ELF vmlinux.
    Vmlinux,
    /// A bzImage: setup code, then the compressed kernel.
    BzImage,
    /// A boot image of an architecture other than x86-64: an arm64 or RISC-V `Image`, or a bzImage
    /// for s390.
    Image,
}

/// The magic number of a Debian package, which is an ar(5) archive.
pub(crate) const DEB_MAGIC: &[u8] = b"!<arch>\n";

/// Offsets of fields of the x86 setup header (Documentation/arch/x86/boot.rst, "The Real-Mode
/// Kernel Header").
pub(crate) mod setup {
    pub(crate) const SETUP_SECTS: usize = 0x1f1;
    pub(super) const SYSSIZE: usize = 0x1f4;
    pub(super) const BOOT_FLAG: usize = 0x1fe;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const KERNEL_VERSION: usize = 0x20e;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(crate) const PAYLOAD_OFFSET: usize = 0x248;
    pub(crate) const PAYLOAD_LENGTH: usize = 0x24c;
    pub(super) const END: usize = 0x268;
    /// Bit of `xloadflags`: the kernel has a 64-bit entry point.
    pub(super) const XLF_KERNEL_64: u16 = 1;

    /// Size of boot sector and setup code in bytes, from the field `setup_sects`, in which 0 means
    /// 4.
    pub(crate) fn size(setup_sects: u8) -> usize {
        let sectors = if setup_sects == 0 { 4 } else { usize::from(setup_sects) };
        (sectors + 1) * 512
    }
}

/// Offset of the magic number of an EFI application that decompresses its kernel
/// (drivers/firmware/efi/libstub/zboot-header.S). QEMU cannot boot such an image. x86 has no such
/// images.
const EFI_ZBOOT_MAGIC_OFFSET: usize = 4;
/// The magic number at [`EFI_ZBOOT_MAGIC_OFFSET`].
const EFI_ZBOOT_MAGIC: &[u8] = b"zimg";

/// The magic numbers of an Image (Documentation/arch/riscv/boot-image-header.rst,
/// Documentation/arch/arm64/booting.rst).
const IMAGE_MAGIC_NUMBERS: [(&[u8], Arch); 2] =
    [(b"RSC\x05", Arch::Riscv64), (b"ARM\x64", Arch::Aarch64)];

/// Offsets of fields of an Image's header, which are the same on both architectures.
mod header {
    pub(super) const IMAGE_SIZE: usize = 16;
    pub(super) const MAGIC: usize = 56;
    pub(super) const END: usize = 64;
}

/// Offset of the magic number of a kernel for s390 (`LINUX_MAGIC_ADDR`, arch/s390/boot/head.S).
const S390_MAGIC_OFFSET: u64 = 0x10008;
/// The magic number at [`S390_MAGIC_OFFSET`].
const S390_MAGIC: [u8; 6] = *b"S390EP";

/// Error: the file is not a bootable kernel image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("neither a file nor a directory")]
    Special,
    #[error("the file is empty")]
    Empty,
    #[error("truncated: the file ends in its header")]
    TruncatedHeader,
    #[error("truncated: the file ends before its ELF segments do")]
    TruncatedElf,
    #[error("truncated: {size} bytes of at least {complete_size} are there")]
    TruncatedBzImage { size: u64, complete_size: u64 },
    #[error("compressed for EFI (zboot); name the Image that it holds")]
    EfiZboot,
    #[error("compressed with {0}; unpack it first")]
    Compressed(&'static str),
    #[error("a text file, not a kernel; name a vmlinux or bzImage")]
    Text,
    #[error("not a kernel: neither an ELF vmlinux nor a bzImage")]
    Unknown,
    #[error("an ELF file for another machine ({machine}), not for {arch}")]
    ForeignElf { machine: u16, arch: &'static str },
    #[error("a 32-bit ELF file: sudbox boots kernels of 64 bits")]
    Elf32,
    #[error("an ELF file, which cannot be booted; name its {0}")]
    UnbootableElf(&'static str),
    #[error("an ELF object or core file, not a vmlinux")]
    ElfObject,
    #[error("an ELF program with an interpreter, not a vmlinux")]
    ElfInterpreter,
    #[error("an ELF file without anything to load, not a vmlinux")]
    ElfEmpty,
    #[error("an ELF program or library, not a vmlinux")]
    ElfProgram,
    #[error("an Image for {image_arch}, not for {arch}")]
    ForeignImage { image_arch: &'static str, arch: &'static str },
    #[error("longer than its header says, so not an Image")]
    LongImage,
    #[error("a bzImage for {image_arch}, not for {arch}")]
    ForeignBzImage { image_arch: &'static str, arch: &'static str },
    #[error("a bzImage without a 64-bit entry, so not for x86_64")]
    BzImage32,
}

/// Whether a file is a Debian package, by its magic number.
pub(crate) fn is_deb(path: &Path) -> bool {
    let mut head = [0; DEB_MAGIC.len()];
    let result = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    result.is_ok() && head == DEB_MAGIC
}

/// Recognises and checks a kernel image for an architecture.
///
/// # Errors
/// [`ImageError`] if the file is not a bootable kernel image for `arch`.
pub(crate) fn inspect(path: &Path, arch: Arch) -> Result<ImageFile, ImageError> {
    let metadata = std::fs::metadata(path).map_err(ImageError::Unreadable)?;
    if !metadata.is_file() {
        return Err(ImageError::Special);
    }
    let file = File::open(path).map_err(ImageError::Unreadable)?;
    let mut head = Vec::new();
    (&file).take(4096).read_to_end(&mut head).map_err(ImageError::Unreadable)?;
    let image_file = |format, release| ImageFile { path: path.to_owned(), format, release };
    if head.is_empty() {
        return Err(ImageError::Empty);
    }
    if head.starts_with(b"\x7fELF") {
        check_elf(&file, &head, metadata.len(), arch)?;
        return Ok(image_file(Format::Vmlinux, None));
    }
    if head.get(setup::MAGIC..setup::MAGIC + 4) == Some(b"HdrS") {
        let release = check_bzimage(&file, &head, metadata.len(), arch)?;
        return Ok(image_file(Format::BzImage, release));
    }
    let magic = head.get(header::MAGIC..header::MAGIC + 4);
    if let Some((_, image_arch)) =
        IMAGE_MAGIC_NUMBERS.iter().find(|(known_magic, _)| magic == Some(known_magic))
    {
        check_image(&head, metadata.len(), *image_arch, arch)?;
        return Ok(image_file(Format::Image, None));
    }
    if head.get(EFI_ZBOOT_MAGIC_OFFSET..EFI_ZBOOT_MAGIC_OFFSET + 4) == Some(EFI_ZBOOT_MAGIC) {
        return Err(ImageError::EfiZboot);
    }
    let mut magic = [0; S390_MAGIC.len()];
    if file.read_exact_at(&mut magic, S390_MAGIC_OFFSET).is_ok() && magic == S390_MAGIC {
        if arch != Arch::S390x {
            return Err(ImageError::ForeignBzImage {
                image_arch: Arch::S390x.name(),
                arch: arch.name(),
            });
        }
        return Ok(image_file(Format::Image, None));
    }
    if let Some(compression) = Compression::detect(&head) {
        return Err(ImageError::Compressed(compression.name()));
    }
    if head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        return Err(ImageError::Text);
    }
    Err(ImageError::Unknown)
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

/// Checks that an ELF file is a complete vmlinux for `arch`.
fn check_elf(file: &File, head: &[u8], size: u64, arch: Arch) -> Result<(), ImageError> {
    let data = &ReadCache::new(file);
    // EI_CLASS is ELFCLASS32 (elf(5)).
    if head.get(4) == Some(&1) {
        return Err(ImageError::Elf32);
    }
    if head.len() < size_of::<FileHeader64<Endianness>>() {
        return Err(ImageError::TruncatedElf);
    }
    // Parsing fails for a 32-bit ELF file.
    let header = FileHeader64::<Endianness>::parse(data)
        .map_err(|_| ImageError::ForeignElf { machine: u16_at(head, 18), arch: arch.name() })?;
    let endian = header.endian().map_err(|_| ImageError::TruncatedElf)?;
    let machine = header.e_machine(endian).0;
    if machine != arch::facts(arch).elf_machine {
        return Err(ImageError::ForeignElf { machine, arch: arch.name() });
    }
    let boot_image = (arch::facts(arch).image)("");
    if !boot_image.is_elf {
        return Err(ImageError::UnbootableElf(boot_image.file));
    }
    let elf_type = header.e_type(endian);
    if elf_type != ET_EXEC && elf_type != ET_DYN {
        return Err(ImageError::ElfObject);
    }
    let segments = header.program_headers(endian, data).map_err(|_| ImageError::TruncatedElf)?;
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Err(ImageError::ElfInterpreter);
    }
    let loaded_segments = || segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let file_end = |segment: &ProgramHeader64<_>| {
        segment.p_offset(endian).saturating_add(segment.p_filesz(endian))
    };
    let lowest_address = loaded_segments().map(|segment| segment.p_vaddr(endian)).min();
    match loaded_segments().map(file_end).max() {
        None => Err(ImageError::ElfEmpty),
        Some(end) if end > size => Err(ImageError::TruncatedElf),
        // The addresses of a kernel are in the upper half of the address space, those of a program
        // in the lower half.
        Some(_) if lowest_address.is_none_or(|lowest| lowest >> 63 == 0) && elf_type == ET_DYN => {
            Err(ImageError::ElfProgram)
        }
        Some(_) => Ok(()),
    }
}

/// Checks that an Image for `image_arch` is a complete Image for `arch`.
fn check_image(head: &[u8], size: u64, image_arch: Arch, arch: Arch) -> Result<(), ImageError> {
    if arch != image_arch {
        return Err(ImageError::ForeignImage { image_arch: image_arch.name(), arch: arch.name() });
    }
    if head.len() < header::END {
        return Err(ImageError::TruncatedHeader);
    }
    // `image_size` is the size in memory with .bss, so the file must not be larger.
    if size > u64_at(head, header::IMAGE_SIZE) {
        return Err(ImageError::LongImage);
    }
    Ok(())
}

/// Checks the setup header of a bzImage. Returns the release in it.
fn check_bzimage(
    file: &File,
    head: &[u8],
    size: u64,
    arch: Arch,
) -> Result<Option<String>, ImageError> {
    if arch != Arch::X86_64 {
        return Err(ImageError::ForeignBzImage {
            image_arch: Arch::X86_64.name(),
            arch: arch.name(),
        });
    }
    if head.len() < setup::END || u16_at(head, setup::BOOT_FLAG) != 0xaa55 {
        return Err(ImageError::TruncatedHeader);
    }
    let setup_size = setup::size(head[setup::SETUP_SECTS]) as u64;
    let complete_size = setup_size + u64::from(u32_at(head, setup::SYSSIZE)) * 16;
    if size < complete_size {
        return Err(ImageError::TruncatedBzImage { size, complete_size });
    }
    if u16_at(head, setup::VERSION) < 0x020c
        || u16_at(head, setup::XLOADFLAGS) & setup::XLF_KERNEL_64 == 0
    {
        return Err(ImageError::BzImage32);
    }
    let offset = u64::from(u16_at(head, setup::KERNEL_VERSION));
    let mut text = [0; 128];
    let count = if offset == 0 { 0 } else { file.read_at(&mut text, offset + 0x200).unwrap_or(0) };
    let release = text[..count]
        .split(|byte| *byte == 0 || *byte == b' ')
        .next()
        .and_then(|word| std::str::from_utf8(word).ok())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(release.map(str::to_owned))
}

#[cfg(test)]
mod tests;
