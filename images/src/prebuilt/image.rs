// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacks the vmlinux in a bzImage, and finds release, configuration and PVH entry point in a
//! vmlinux.

use memchr::memmem;
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::compression::{CONFIG_LIMIT, Compression, KERNEL_LIMIT};
use crate::error::DamagedImage;
use crate::image_file::setup;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (include/xen/interface/elfnote.h): type of the note with the PVH
/// entry point.
const NOTE_PHYS32_ENTRY: u32 = 18;

/// Marker before the compressed configuration (kernel/configs.c).
const CONFIG_BEGIN: &[u8] = b"IKCFG_ST";
/// Marker after the compressed configuration.
const CONFIG_END: &[u8] = b"IKCFG_ED";

/// The little-endian number at this offset; `None` beyond the end of `bytes`.
fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// Unpacks the vmlinux in a bzImage; `None` if the compression is not supported (lzo) or the
/// content is not an ELF file.
///
/// # Errors
/// [`DamagedImage`] if the image is truncated or the compressed data is damaged.
pub(crate) fn unpack(image: &[u8]) -> Result<Option<Vec<u8>>, DamagedImage> {
    let Some(payload) = payload(image) else {
        return Err(DamagedImage::Truncated);
    };
    let Some(compression) = Compression::detect(payload) else { return Ok(None) };
    let damaged =
        |reason: String| DamagedImage::Payload { compression: compression.name(), reason };
    // The last four bytes are the unpacked size. The build appends these bytes (`size_append`,
    // scripts/Makefile.lib), except to gzip data, whose format ends with the size.
    let (before_size, size) = payload.split_at(payload.len().saturating_sub(4));
    let compressed = if compression == Compression::Gzip { payload } else { before_size };
    let vmlinux = compression
        .decompress(compressed, KERNEL_LIMIT)
        .map_err(|error| damaged(error.to_string()))?;
    if Some(vmlinux.len()) != u32_at(size, 0).and_then(|size| usize::try_from(size).ok()) {
        return Err(damaged(format!("it has {} bytes unpacked", vmlinux.len())));
    }
    Ok(vmlinux.starts_with(b"\x7fELF").then_some(vmlinux))
}

/// The compressed vmlinux in a bzImage; `None` if the image ends too early.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let setup_size = setup::size(*image.get(setup::SETUP_SECTS)?);
    let offset = usize::try_from(u32_at(image, setup::PAYLOAD_OFFSET)?).ok()?;
    let length = usize::try_from(u32_at(image, setup::PAYLOAD_LENGTH)?).ok()?;
    let start = setup_size + offset;
    image.get(start..start.checked_add(length)?)
}

/// Properties of a kernel, read from its vmlinux.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmlinuxFacts {
    /// Whether the kernel has a PVH entry point.
    pub(crate) has_pvh_entry: bool,
    /// The release as `uname -r` prints it.
    pub(crate) release: Option<String>,
    /// The .config, if the kernel contains it (`CONFIG_IKCONFIG`).
    pub(crate) config: Option<String>,
    /// Whether virtio-mmio devices can be given on the command line (`vm_cmdline_set()`,
    /// drivers/virtio/virtio_mmio.c).
    pub(crate) takes_command_line_devices: bool,
}

/// Collects the facts about a vmlinux.
pub(crate) fn vmlinux_facts(vmlinux: &[u8]) -> VmlinuxFacts {
    VmlinuxFacts {
        has_pvh_entry: has_pvh_note(vmlinux).unwrap_or(false),
        release: release(vmlinux),
        config: config(vmlinux),
        takes_command_line_devices: memmem::find(vmlinux, b"virtio_mmio.device\0").is_some(),
    }
}

/// File offset of the end of the loaded segments, after which symbols and debug information follow.
/// `head` is the beginning of the file with the program headers.
pub(crate) fn loaded_end(head: &[u8]) -> Option<usize> {
    let header = FileHeader64::<Endianness>::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, head).ok()?.iter();
    let loaded_segments = segments.filter(|segment| segment.p_type(endian) == PT_LOAD);
    let ends = loaded_segments
        .filter_map(|segment| segment.p_offset(endian).checked_add(segment.p_filesz(endian)));
    usize::try_from(ends.max()?).ok()
}

/// Whether a vmlinux has the note with the PVH entry point.
fn has_pvh_note(vmlinux: &[u8]) -> object::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(vmlinux)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, vmlinux)? {
        let Some(mut notes) = segment.notes(endian, vmlinux)? else { continue };
        while let Some(note) = notes.next()? {
            if note.n_type(endian).0 == NOTE_PHYS32_ENTRY && note.name() == b"Xen" {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The release in the banner (`linux_banner`, init/version.c).
fn release(vmlinux: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memmem::find_iter(vmlinux, BANNER).find_map(|start| {
        let after_banner = vmlinux.get(start + BANNER.len()..)?;
        let word =
            after_banner.get(..after_banner.iter().take(128).position(|byte| *byte == b' ')?)?;
        word.first()?.is_ascii_digit().then(|| String::from_utf8_lossy(word).into_owned())
    })
}

/// The configuration that a kernel with `CONFIG_IKCONFIG` contains.
fn config(vmlinux: &[u8]) -> Option<String> {
    let start = memmem::find(vmlinux, CONFIG_BEGIN)? + CONFIG_BEGIN.len();
    let after_marker = vmlinux.get(start..)?;
    let compressed = &after_marker[..memmem::find(after_marker, CONFIG_END)?];
    let text = Compression::detect(compressed)?.decompress(compressed, CONFIG_LIMIT).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
