//! Kernel images that are there already: what they are, and whether they are whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::Arch;

/// A kernel image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// Its canonical path.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// The release it says it is, where the format carries one.
    pub release: Option<String>,
}

/// Formats of kernel images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An ELF vmlinux.
    Vmlinux,
    /// A bzImage: setup code, then the compressed kernel.
    BzImage,
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

/// ELF identification and header fields (elf(5)).
mod elf {
    pub(super) const HEADER: usize = 64;
    pub(super) const CLASS_64: u8 = 2;
    pub(super) const LITTLE: u8 = 1;
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
    if head.starts_with(b"!<arch>\ndebian-binary") {
        return Err("a Debian package; unpack it (dpkg-deb -x) and name the image in it".into());
    }
    let compressed: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh", "bzip2"),
    ];
    if let Some((_, name)) = compressed.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("compressed with {name}; unpack it first"));
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
    let machine = u16_at(head, 18);
    if head[4] != elf::CLASS_64 || head[5] != elf::LITTLE || machine != arch.elf_machine() {
        return Err(format!(
            "an ELF file for another machine ({machine}), not for {}",
            arch.name()
        ));
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

fn check_bzimage(
    file: &File,
    head: &[u8],
    size: u64,
    arch: Arch,
) -> Result<Option<String>, String> {
    let Arch::X86_64 = arch;
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
mod tests {
    use super::*;

    fn inspect_bytes(bytes: &[u8]) -> Result<ImageFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        inspect(file.path(), Arch::X86_64)
    }

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

    fn vmlinux() -> Vec<u8> {
        let mut image = vec![0; 64 + 56 + 100];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[16] = 2;
        image[18] = 62;
        image[32] = 64;
        image[56] = 1;
        image[64] = 1;
        image[64 + 8] = 120;
        image[64 + 16..64 + 24].copy_from_slice(&0xffff_ffff_8100_0000u64.to_le_bytes());
        image[64 + 32] = 100;
        image
    }

    #[test]
    fn whole_images_are_recognised() {
        let image = inspect_bytes(&bzimage()).unwrap();
        assert_eq!(image.format, Format::BzImage);
        assert_eq!(image.release.as_deref(), Some("6.12.117"));
        assert_eq!(inspect_bytes(&vmlinux()).unwrap().format, Format::Vmlinux);
    }

    #[test]
    fn truncated_images_say_so_at_every_length() {
        for (whole, start) in [(bzimage(), 0x206), (vmlinux(), 4)] {
            for length in start..whole.len() {
                let why = inspect_bytes(&whole[..length]).unwrap_err();
                assert!(why.starts_with("truncated"), "{length}: {why}");
            }
        }
    }

    #[test]
    fn others_are_named() {
        let mut arm = vmlinux();
        arm[18] = 183;
        let mut old = bzimage();
        old[0x236] = 0;
        for (bytes, word) in [
            (arm, "another machine"),
            (old, "64-bit"),
            (b"#!/bin/sh\n".to_vec(), "text"),
            (b"\x1f\x8b\x08".to_vec(), "gzip"),
            (vec![0; 100], "not a kernel"),
            (Vec::new(), "empty"),
        ] {
            let why = inspect_bytes(&bytes).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        let program = inspect(Path::new("/proc/self/exe"), Arch::X86_64).unwrap_err();
        assert!(program.contains("ELF program"), "{program}");
    }
}
