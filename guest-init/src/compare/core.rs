// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the notes of a core (elf(5), fs/binfmt_elf.c).

use super::record::{Moment, Record};

/// A note: its type (include/uapi/linux/elf.h), its name, and where in it something stands that is each
/// process's own, ids and times.
type Note = (u32, &'static str, Option<(usize, usize)>);

const NOTES: &[Note] = &[
    // pr_pid to pr_sid, pr_utime to pr_cstime.
    (1, "core's NT_PRSTATUS", Some((32, 112))),
    // pr_pid to pr_sid.
    (3, "core's NT_PRPSINFO", Some((24, 40))),
    (0x5349_4749, "core's NT_SIGINFO", None),
    (2, "core's NT_PRFPREG", None),
    (0x202, "core's NT_X86_XSTATE", None),
    (0x200, "core's NT_386_TLS", None),
    (0x205, "core's NT_X86_XSAVE_LAYOUT", None),
    (6, "core's NT_AUXV", None),
];

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(number(bytes, at)?)).ok()
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(number(bytes, at)?))
}

/// Records the notes of a core. `anonymous` takes who it was out of the registers.
pub(super) fn look(
    record: &Record,
    moment: Moment,
    core: &[u8],
    anonymous: impl Fn(&mut [u8]),
) -> Option<()> {
    let headers = word(core, 32)?;
    let count = usize::from(u16::from_ne_bytes(number(core, 56)?));
    record.number(moment, "segments of the core", count as u64);
    let mut seen = [0u32; NOTES.len()];
    for header in (0..count).map(|i| headers + 56 * i) {
        // PT_NOTE
        if half(core, header)? != 4 {
            continue;
        }
        let (start, length) = (word(core, header + 8)?, word(core, header + 32)?);
        let mut rest = core.get(start..start + length)?;
        while rest.len() >= 12 {
            let name = half(rest, 0)?.next_multiple_of(4) as usize;
            let length = half(rest, 4)? as usize;
            let kind = half(rest, 8)?;
            let mut bytes = rest.get(12 + name..12 + name + length)?.to_vec();
            rest = rest.get(12 + name + length.next_multiple_of(4)..)?;
            let Some(at) = NOTES.iter().position(|(of, _, _)| *of == kind) else { continue };
            let (_, name, own) = NOTES[at];
            if let Some((start, end)) = own {
                bytes.get_mut(start..end)?.fill(0);
            }
            if kind == 1 {
                anonymous(bytes.get_mut(112..)?);
            }
            // The thread that died comes first.
            let moment = match seen[at] {
                0 => moment,
                more => Moment { step: "other thread", count: more, ..moment },
            };
            record.put(moment, name, &bytes);
            seen[at] += 1;
        }
    }
    Some(())
}
