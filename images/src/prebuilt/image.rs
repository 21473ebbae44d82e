// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a ready kernel's image says of itself: the vmlinux in a bzImage, and what is written in that.

use memchr::memmem;

use crate::compression::Compression;

/// Offsets of the x86 setup header (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
const SETUP_SECTS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (include/xen/interface/elfnote.h): where PVH begins.
const PHYS32_ENTRY: u32 = 18;

/// `PT_LOAD` and `PT_NOTE` (elf(5)).
const LOAD: u32 = 1;
const NOTE: u32 = 4;

/// Between these is the packed configuration (kernel/configs.c).
const CONFIG_BEGINS: &[u8] = b"IKCFG_ST";
const CONFIG_ENDS: &[u8] = b"IKCFG_ED";

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    let eight = bytes.get(at..at.checked_add(8)?)?;
    usize::try_from(u64::from_le_bytes(eight.try_into().ok()?)).ok()
}

/// The vmlinux in a bzImage; `None` if it is packed in a way that is not known here (lzo).
///
/// # Errors
/// What is damaged.
pub(crate) fn unpack(image: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let Some(payload) = payload(image) else {
        return Err("truncated: the file ends before its compressed kernel does".into());
    };
    let Some(compression) = Compression::of(payload) else { return Ok(None) };
    let damaged =
        |why: String| format!("its kernel, packed with {}, is damaged: {why}", compression.name());
    // The build appends the size, but to gzip, which ends with it (`size_append`,
    // scripts/Makefile.lib).
    let (rest, size) = payload.split_at(payload.len().saturating_sub(4));
    let packed = if compression == Compression::Gzip { payload } else { rest };
    let vmlinux = compression.unpack(packed).map_err(|e| damaged(e.to_string()))?;
    if Some(vmlinux.len()) != u32_at(size, 0).and_then(|size| usize::try_from(size).ok()) {
        return Err(damaged(format!("{} bytes came out of it", vmlinux.len())));
    }
    Ok(vmlinux.starts_with(b"\x7fELF").then_some(vmlinux))
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let sectors = match *image.get(SETUP_SECTS)? {
        // Says the boot protocol.
        0 => 4,
        sectors => usize::from(sectors),
    };
    let offset = usize::try_from(u32_at(image, PAYLOAD_OFFSET)?).ok()?;
    let length = usize::try_from(u32_at(image, PAYLOAD_LENGTH)?).ok()?;
    let start = (sectors + 1) * 512 + offset;
    image.get(start..start.checked_add(length)?)
}

/// What is written in a vmlinux.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It can be entered by its PVH note.
    pub(crate) pvh: bool,
    /// What `uname -r` says.
    pub(crate) release: Option<String>,
    /// Its .config (`CONFIG_IKCONFIG`).
    pub(crate) config: Option<String>,
    /// virtio-mmio devices can be told on the command line (`vm_cmdline_set()`,
    /// drivers/virtio/virtio_mmio.c).
    pub(crate) told_devices: bool,
}

/// Reads a vmlinux.
pub(crate) fn facts(vmlinux: &[u8]) -> Facts {
    Facts {
        pvh: has_pvh_note(vmlinux).unwrap_or(false),
        release: release(vmlinux),
        config: config(vmlinux),
        told_devices: memmem::find(vmlinux, b"virtio_mmio.device\0").is_some(),
    }
}

/// Type, offset and size of each segment.
fn segments(vmlinux: &[u8]) -> Option<Vec<(u32, usize, usize)>> {
    let table = usize_at(vmlinux, 32)?;
    let count = u32_at(vmlinux, 56)? & 0xffff;
    let segment = |index: usize| {
        let at = table.checked_add(index * 56)?;
        Some((u32_at(vmlinux, at)?, usize_at(vmlinux, at + 8)?, usize_at(vmlinux, at + 32)?))
    };
    (0..usize::try_from(count).ok()?).map(segment).collect()
}

/// Where in the file ends what is loaded; behind it are symbols and what debuggers read.
pub(crate) fn loaded_end(head: &[u8]) -> Option<usize> {
    let loaded = segments(head)?.into_iter().filter(|(kind, ..)| *kind == LOAD);
    loaded.filter_map(|(_, offset, size)| offset.checked_add(size)).max()
}

fn has_pvh_note(vmlinux: &[u8]) -> Option<bool> {
    for (kind, offset, size) in segments(vmlinux)? {
        if kind != NOTE {
            continue;
        }
        let mut notes = vmlinux.get(offset..offset.checked_add(size)?)?;
        while let (Some(name), Some(content), Some(kind)) =
            (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8))
        {
            let padded = |size: u32| usize::try_from(size).map(|size| size.next_multiple_of(4));
            let (name, content) = (padded(name).ok()?, padded(content).ok()?);
            if kind == PHYS32_ENTRY && notes.get(12..16) == Some(b"Xen\0") {
                return Some(true);
            }
            notes = notes.get(12 + name + content..)?;
        }
    }
    Some(false)
}

/// From the banner (`linux_banner`, init/version.c).
fn release(vmlinux: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    memmem::find_iter(vmlinux, BANNER).find_map(|at| {
        let rest = vmlinux.get(at + BANNER.len()..)?;
        let word = rest.get(..rest.iter().take(128).position(|byte| *byte == b' ')?)?;
        word.first()?.is_ascii_digit().then(|| String::from_utf8_lossy(word).into_owned())
    })
}

fn config(vmlinux: &[u8]) -> Option<String> {
    let start = memmem::find(vmlinux, CONFIG_BEGINS)? + CONFIG_BEGINS.len();
    let rest = vmlinux.get(start..)?;
    let packed = &rest[..memmem::find(rest, CONFIG_ENDS)?];
    let text = Compression::of(packed)?.unpack(packed).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests;
