// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kinds of x86-64 instructions that take far longer than others (Intel SDM volume 2, opcode
//! maps in appendix A).

/// Prefix of an atomic instruction.
const LOCK_PREFIX: u8 = 0xf0;

/// Returns the kind of a slow instruction; `None` for all other instructions.
pub(super) fn slow_kind(bytes: &[u8]) -> Option<&'static str> {
    let is_prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let prefix_count = bytes.iter().take_while(|byte| is_prefix(byte)).count();
    let (prefixes, code) = bytes.split_at(prefix_count);
    if prefixes.contains(&LOCK_PREFIX) {
        return Some("atomic");
    }
    let opcode = *code.first()?;
    let next = code.get(1).copied();
    match (opcode, next) {
        (0x0f, _) => two_byte_kind(prefixes, code.get(1..)?),
        // XCHG with memory is locked without a prefix.
        (0x86 | 0x87, Some(modrm)) if is_memory(modrm) => Some("atomic"),
        (0x90, _) if prefixes.contains(&0xf3) => Some("pause"),
        (0xf4, _) => Some("halt"),
        (0xcf, _) => Some("iret"),
        (0xcb | 0xca, _) => Some("far-return"),
        (0xcc | 0xcd, _) => Some("trap"),
        (0xe4..=0xe7 | 0xec..=0xef | 0x6c..=0x6f, _) => Some("port"),
        (0xfa | 0xfb | 0x9d, _) => Some("interrupt-flag"),
        (0x8e, _) => Some("segment"),
        (0xf6 | 0xf7, Some(modrm)) if register_field(modrm) >= 6 => Some("division"),
        _ => None,
    }
}

/// Returns the kind of a slow instruction whose first opcode byte is 0Fh. `code` begins after that
/// byte.
fn two_byte_kind(prefixes: &[u8], code: &[u8]) -> Option<&'static str> {
    let (opcode, next) = (*code.first()?, code.get(1).copied());
    match (opcode, next) {
        (0x30 | 0x32, _) => Some("msr"),
        (0x31, _) | (0x01, Some(0xf9)) => Some("time-stamp"),
        (0xa2, _) => Some("cpuid"),
        (0x01, Some(0xca | 0xcb)) => Some("user-access"),
        (0x01, Some(0xf8)) => Some("swapgs"),
        (0x01, Some(0xe8)) => Some("barrier"),
        (0x01, Some(0xd1)) => Some("fpu-state"),
        (0x01, Some(modrm)) if is_memory(modrm) && register_field(modrm) == 7 => Some("tlb"),
        (0x38, Some(0x82)) if prefixes.contains(&0x66) => Some("tlb"),
        (0x22, Some(modrm)) if register_field(modrm) == 3 => Some("tlb"),
        (0x20..=0x23, _) => Some("control-register"),
        (0x00, Some(modrm)) if matches!(register_field(modrm), 2 | 3) => Some("segment"),
        (0xae, Some(modrm)) => match (is_memory(modrm), register_field(modrm)) {
            (true, 0 | 1 | 4 | 5 | 6) => Some("fpu-state"),
            (false, 0..=3) => Some("segment"),
            (false, 5..=7) if prefixes.is_empty() => Some("barrier"),
            _ => None,
        },
        (0xc7, Some(modrm)) if is_memory(modrm) && matches!(register_field(modrm), 3..=5) => {
            Some("fpu-state")
        }
        _ => None,
    }
}

/// Returns true if the operand that a ModRM byte selects is in memory.
fn is_memory(modrm: u8) -> bool {
    modrm >> 6 != 3
}

/// Returns the field of a ModRM byte that selects a register or extends the opcode.
fn register_field(modrm: u8) -> u8 {
    modrm >> 3 & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_instructions_have_kinds() {
        for (bytes, expected) in [
            (&[0xf0, 0x48, 0xff, 0x00][..], "atomic"),
            (&[0xf0, 0x0f, 0xb1, 0x0f], "atomic"),
            (&[0x65, 0x48, 0x87, 0x05], "atomic"),
            (&[0x48, 0xcf], "iret"),
            (&[0x0f, 0x30], "msr"),
            (&[0x0f, 0x01, 0xf8], "swapgs"),
            (&[0x0f, 0x01, 0x38], "tlb"),
            (&[0x66, 0x0f, 0x38, 0x82, 0x02], "tlb"),
            (&[0x0f, 0x22, 0xdf], "tlb"),
            (&[0x0f, 0x22, 0xe0], "control-register"),
            (&[0x0f, 0xae, 0xf0], "barrier"),
            (&[0x0f, 0xae, 0xe8], "barrier"),
            (&[0x48, 0x0f, 0xae, 0x27], "fpu-state"),
            (&[0x48, 0x0f, 0xc7, 0x2f], "fpu-state"),
            (&[0xf3, 0x48, 0x0f, 0xae, 0xd8], "segment"),
            (&[0x0f, 0x01, 0xcb], "user-access"),
            (&[0xf3, 0x90], "pause"),
            (&[0xfb], "interrupt-flag"),
            (&[0x48, 0xf7, 0xf1], "division"),
            (&[0x0f, 0xa2], "cpuid"),
        ] {
            assert_eq!(slow_kind(bytes), Some(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn other_instructions_have_no_kind() {
        for bytes in [
            &[0x90][..],
            &[0x87, 0xc1],
            &[0x3e, 0x48, 0xff, 0x00],
            &[0x0f, 0x05],
            &[0x48, 0x0f, 0x07],
            &[0x48, 0xf7, 0xd8],
            &[0x0f, 0xae, 0x38],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0xc7, 0xf0],
            &[],
            &[0x48],
        ] {
            assert_eq!(slow_kind(bytes), None, "{bytes:02x?}");
        }
    }
}
