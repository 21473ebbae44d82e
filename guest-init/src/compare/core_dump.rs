// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records the notes of a core dump (elf(5), fs/binfmt_elf.c).

use super::record::{Moment, Record};
use std::borrow::Cow;

/// A kind of note that is recorded.
struct Note {
    /// `NT_*` (include/uapi/linux/elf.h).
    kind: u32,
    /// The field's name in the record.
    name: &'static str,
    /// The start and end of the bytes with ids and times. They differ from process to process, and are
    /// recorded as zeros.
    zeroed_bytes: Option<(usize, usize)>,
}

const fn note(kind: u32, name: &'static str) -> Note {
    Note { kind, name, zeroed_bytes: None }
}

const NT_PRSTATUS: u32 = 1;
/// The offset in bytes of the registers in the 64-bit `struct elf_prstatus` (include/linux/elfcore.h).
const PRSTATUS_REGISTERS_OFFSET: usize = 112;
/// The type of a segment that holds notes (elf(5)).
const PT_NOTE: u32 = 4;
/// The lengths of `Elf64_Phdr` and `Elf64_Nhdr` in bytes.
const PROGRAM_HEADER_LENGTH: usize = 56;
const NOTE_HEADER_LENGTH: usize = 12;

/// The name of the field with the auxiliary vector.
pub(super) const AUXILIARY_VECTOR: &str = "core's NT_AUXV";

/// The names of entries of the auxiliary vector (include/uapi/linux/auxvec.h and
/// arch/x86/include/uapi/asm/auxvec.h).
const AUXILIARY_VECTOR_NAMES: &[(u64, &str)] = &[
    (0, "AT_NULL"),
    (3, "AT_PHDR"),
    (4, "AT_PHENT"),
    (5, "AT_PHNUM"),
    (6, "AT_PAGESZ"),
    (7, "AT_BASE"),
    (8, "AT_FLAGS"),
    (9, "AT_ENTRY"),
    (11, "AT_UID"),
    (12, "AT_EUID"),
    (13, "AT_GID"),
    (14, "AT_EGID"),
    (15, "AT_PLATFORM"),
    (16, "AT_HWCAP"),
    (17, "AT_CLKTCK"),
    (23, "AT_SECURE"),
    (25, "AT_RANDOM"),
    (26, "AT_HWCAP2"),
    (27, "AT_RSEQ_FEATURE_SIZE"),
    (28, "AT_RSEQ_ALIGN"),
    (31, "AT_EXECFN"),
    (32, "AT_SYSINFO"),
    (33, "AT_SYSINFO_EHDR"),
    (51, "AT_MINSIGSTKSZ"),
];

/// The entries of an auxiliary vector as parts of a field.
pub(super) fn auxiliary_vector_parts(bytes: &[u8]) -> Vec<(Cow<'static, str>, &[u8])> {
    // An entry is a word with its type and a word with its value.
    let name_of = |entry: &'_ [u8; 16]| {
        let kind = u64::from_ne_bytes(*entry.first_chunk().unwrap_or(&[0; 8]));
        let known = AUXILIARY_VECTOR_NAMES.iter().find(|(known, _)| *known == kind);
        known.map_or_else(|| format!("entry {kind}").into(), |(_, name)| Cow::Borrowed(*name))
    };
    bytes.as_chunks::<16>().0.iter().map(|entry| (name_of(entry), &entry[8..])).collect()
}

/// The kinds of notes that are recorded; others are skipped.
const NOTES: &[Note] = &[
    // pr_pid to pr_sid, pr_utime to pr_cstime.
    Note { zeroed_bytes: Some((32, 112)), ..note(NT_PRSTATUS, "core's NT_PRSTATUS") },
    // pr_pid to pr_sid.
    Note { zeroed_bytes: Some((24, 40)), ..note(3, "core's NT_PRPSINFO") },
    note(0x5349_4749, "core's NT_SIGINFO"),
    note(2, "core's NT_PRFPREG"),
    note(0x202, "core's NT_X86_XSTATE"),
    note(0x200, "core's NT_386_TLS"),
    note(0x205, "core's NT_X86_XSAVE_LAYOUT"),
    note(6, AUXILIARY_VECTOR),
];

/// `N` bytes at an offset.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

/// The 64-bit number at an offset, as a `usize`.
fn usize_at(bytes: &[u8], offset: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(bytes_at(bytes, offset)?)).ok()
}

/// The 32-bit number at an offset.
fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes_at(bytes, offset)?))
}

/// Records the notes of a core dump. Returns `None` if the dump is malformed. `replace_ids` replaces process
/// and thread ids in the registers of a note.
pub(super) fn record_notes(
    record: &Record,
    moment: Moment,
    core: &[u8],
    replace_ids: impl Fn(&mut [u8]),
) -> Option<()> {
    // e_phoff and e_phnum of `Elf64_Ehdr`.
    let headers = usize_at(core, 32)?;
    let header_count = usize::from(u16::from_ne_bytes(bytes_at(core, 56)?));
    let mut note_counts = [0u32; NOTES.len()];
    let mut memory_bytes = 0;
    for header in (0..header_count).map(|i| headers + PROGRAM_HEADER_LENGTH * i) {
        // p_type, p_offset and p_filesz of `Elf64_Phdr`.
        let kind = u32_at(core, header)?;
        let (start, length) = (usize_at(core, header + 8)?, usize_at(core, header + 32)?);
        if kind != PT_NOTE {
            memory_bytes += length;
            continue;
        }
        let mut rest = core.get(start..start.checked_add(length)?)?;
        while !rest.is_empty() {
            // n_namesz, n_descsz and n_type of `Elf64_Nhdr`. Name and content are padded to words.
            let name_length = u32_at(rest, 0)?.next_multiple_of(4) as usize;
            let length = u32_at(rest, 4)? as usize;
            let kind = u32_at(rest, 8)?;
            let start = NOTE_HEADER_LENGTH + name_length;
            let mut content = rest.get(start..start + length)?.to_vec();
            rest = rest.get(start + length.next_multiple_of(4)..)?;
            let Some(index) = NOTES.iter().position(|note| note.kind == kind) else { continue };
            let Note { name, zeroed_bytes, .. } = NOTES[index];
            if let Some((start, end)) = zeroed_bytes {
                content.get_mut(start..end)?.fill(0);
            }
            if kind == NT_PRSTATUS {
                replace_ids(content.get_mut(PRSTATUS_REGISTERS_OFFSET..)?);
            }
            // The notes of the thread that died come first.
            let moment = match note_counts[index] {
                0 => moment,
                count => Moment { step: "other thread", count, ..moment },
            };
            record.put(moment, name, &content);
            note_counts[index] += 1;
        }
    }
    // The number of segments is not recorded, since the kernel may or may not merge adjacent mappings.
    record.put_number(moment, "bytes of memory in the core", memory_bytes as u64);
    Some(())
}
