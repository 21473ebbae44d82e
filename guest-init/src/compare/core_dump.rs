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
    /// The range of bytes with ids and times. It is zeroed, because they differ from process to process.
    id_bytes: Option<(usize, usize)>,
}

const fn note(kind: u32, name: &'static str) -> Note {
    Note { kind, name, id_bytes: None }
}

const NT_PRSTATUS: u32 = 1;
/// The kind of a segment that holds notes (elf(5)).
const PT_NOTE: u32 = 4;

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
    let part = |entry: &'_ [u8; 16]| {
        let kind = u64::from_ne_bytes(*entry.first_chunk().unwrap_or(&[0; 8]));
        let known = AUXILIARY_VECTOR_NAMES.iter().find(|(known, _)| *known == kind);
        known.map_or_else(|| format!("entry {kind}").into(), |(_, name)| Cow::Borrowed(*name))
    };
    bytes.as_chunks::<16>().0.iter().map(|entry| (part(entry), &entry[8..])).collect()
}

/// The kinds of notes that are recorded; others are skipped.
const NOTES: &[Note] = &[
    // pr_pid to pr_sid, pr_utime to pr_cstime.
    Note { id_bytes: Some((32, 112)), ..note(NT_PRSTATUS, "core's NT_PRSTATUS") },
    // pr_pid to pr_sid.
    Note { id_bytes: Some((24, 40)), ..note(3, "core's NT_PRPSINFO") },
    note(0x5349_4749, "core's NT_SIGINFO"),
    note(2, "core's NT_PRFPREG"),
    note(0x202, "core's NT_X86_XSTATE"),
    note(0x200, "core's NT_386_TLS"),
    note(0x205, "core's NT_X86_XSAVE_LAYOUT"),
    note(6, AUXILIARY_VECTOR),
];

/// `N` bytes at an offset.
fn bytes_at<const N: usize>(core: &[u8], at: usize) -> Option<[u8; N]> {
    core.get(at..at + N)?.try_into().ok()
}

/// The 64-bit number at an offset.
fn u64_at(core: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(bytes_at(core, at)?)).ok()
}

/// The 32-bit number at an offset.
fn u32_at(core: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes_at(core, at)?))
}

/// Records the notes of a core dump; `None` if the dump is malformed. `replace_ids` replaces process
/// and thread ids in the registers of a note.
pub(super) fn record_notes(
    record: &Record,
    moment: Moment,
    core: &[u8],
    replace_ids: impl Fn(&mut [u8]),
) -> Option<()> {
    let headers = u64_at(core, 32)?;
    let count = usize::from(u16::from_ne_bytes(bytes_at(core, 56)?));
    let mut found = [0u32; NOTES.len()];
    let mut memory_bytes = 0;
    for header in (0..count).map(|i| headers + 56 * i) {
        // p_type, p_offset and p_filesz.
        let kind = u32_at(core, header)?;
        let (start, length) = (u64_at(core, header + 8)?, u64_at(core, header + 32)?);
        if kind != PT_NOTE {
            memory_bytes += length;
            continue;
        }
        let mut rest = core.get(start..start + length)?;
        while rest.len() >= 12 {
            let name_length = u32_at(rest, 0)?.next_multiple_of(4) as usize;
            let length = u32_at(rest, 4)? as usize;
            let kind = u32_at(rest, 8)?;
            let mut content = rest.get(12 + name_length..12 + name_length + length)?.to_vec();
            rest = rest.get(12 + name_length + length.next_multiple_of(4)..)?;
            let Some(index) = NOTES.iter().position(|note| note.kind == kind) else { continue };
            let Note { name, id_bytes, .. } = NOTES[index];
            if let Some((start, end)) = id_bytes {
                content.get_mut(start..end)?.fill(0);
            }
            if kind == NT_PRSTATUS {
                replace_ids(content.get_mut(112..)?);
            }
            // The notes of the thread that died come first.
            let moment = match found[index] {
                0 => moment,
                more => Moment { step: "other thread", count: more, ..moment },
            };
            record.put(moment, name, &content);
            found[index] += 1;
        }
    }
    // The number of segments is not recorded: the kernel merges the mappings of equal processes differently.
    record.put_number(moment, "bytes of memory in the core", memory_bytes as u64);
    Some(())
}
