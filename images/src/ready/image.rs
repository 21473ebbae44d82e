//! What a ready kernel's image says of itself: the vmlinux in a bzImage, and what is written in that.

use memchr::memmem;

use crate::compressed::Compression;

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
mod tests {
    use super::*;
    use crate::compressed::tests::{PACKERS, packed};

    fn vmlinux(note: bool) -> Vec<u8> {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[32] = 64;
        elf[56] = 2;
        let body = elf.len();
        elf.extend(b"..Linux version %s\0Linux version 6.12.1-x (a@b) #1\0virtio_mmio.device\0");
        elf.resize(elf.len().next_multiple_of(4), 0);
        let notes = elf.len();
        for (kind, content) in [(6_u32, 8_u32), (if note { 18 } else { 19 }, 4)] {
            elf.extend([4_u32, content, kind].iter().flat_map(|word| word.to_le_bytes()));
            elf.extend(b"Xen\0");
            elf.resize(elf.len() + content as usize, 1);
        }
        let end = elf.len();
        let mut segment = |at: usize, kind: u8, offset: usize, size: usize| {
            elf[at] = kind;
            elf[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
            elf[at + 32..at + 40].copy_from_slice(&(size as u64).to_le_bytes());
        };
        segment(64, 1, body, end - body);
        segment(120, 4, notes, end - notes);
        elf
    }

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 5 * 512 + 64];
        image[SETUP_SECTS] = 4;
        image[PAYLOAD_OFFSET] = 64;
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4]
            .copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image.resize(image.len() + 100, 0xcc);
        image
    }

    #[test]
    fn a_vmlinux_tells_what_is_needed() {
        let elf = vmlinux(true);
        let all = facts(&elf);
        assert!(all.pvh && all.told_devices, "{all:?}");
        assert_eq!(all.release.as_deref(), Some("6.12.1-x"));
        assert_eq!(all.config, None);
        assert!(!facts(&vmlinux(false)).pvh);
        assert_eq!(loaded_end(&elf), Some(elf.len()));
        for length in 0..elf.len() {
            let _ = facts(&elf[..length]);
        }
    }

    #[test]
    fn the_configuration_in_an_image_is_found() {
        let Some(gz) = packed(&["gzip", "-n"], b"CONFIG_A=y\n") else { panic!("gzip") };
        let elf = [&vmlinux(true)[..], CONFIG_BEGINS, &gz, CONFIG_ENDS].concat();
        assert_eq!(facts(&elf).config.as_deref(), Some("CONFIG_A=y\n"));
    }

    #[test]
    fn payloads_of_all_kinds_are_unpacked_and_damage_is_named() {
        let elf = vmlinux(true);
        let size = u32::try_from(elf.len()).unwrap().to_le_bytes();
        for (compression, packer) in PACKERS {
            let Some(mut payload) = packed(packer, &elf) else {
                eprintln!("NOT RUN: {} is not installed", packer[0]);
                continue;
            };
            if compression != Compression::Gzip {
                payload.extend(size);
            }
            let image = bzimage(&payload);
            assert_eq!(unpack(&image).unwrap().as_deref(), Some(&elf[..]), "{packer:?}");
            let why = unpack(&image[..image.len() - 110]).unwrap_err();
            assert!(why.starts_with("truncated"), "{why}");
            let last = payload.len() - 1;
            payload[last] ^= 1;
            let why = unpack(&bzimage(&payload)).unwrap_err();
            assert!(why.contains(compression.name()) && why.contains("damaged"), "{why}");
        }
        assert_eq!(unpack(&bzimage(b"\x89LZO and more")).unwrap(), None);
    }
}
