// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Machine code of test programs, generated at run time.

/// `e_machine` of ELF files (`EM_AARCH64`, uapi/linux/elf-em.h).
pub const ELF_MACHINE: u16 = 183;
/// `e_flags` of ELF files.
pub const ELF_FLAGS: u32 = 0;

/// The code of [`tiny_program`](crate::arch::tiny_program).
#[must_use]
pub fn tiny_program_code(code: u8) -> Vec<u8> {
    let code = u32::from(code);
    let text = [
        0xd280_02e8,              // mov x8, #23 (dup)
        0xd280_0000,              // mov x0, #0
        0xd400_0001,              // svc #0
        0xd37f_fc00,              // lsr x0, x0, #63
        0x9100_0000 | code << 10, // add x0, x0, #code
        0xd280_0bc8,              // mov x8, #94 (exit_group)
        0xd400_0001,              // svc #0
        0x0000_0000,              // udf #0
    ];
    text.map(u32::to_le_bytes).concat()
}

/// Functions of an integer that return the integer plus
/// [`PROBED_INCREMENT`](crate::arch::PROBED_INCREMENT). A uprobe on the first instruction executes a copy of
/// the instruction in the first function, and emulates the instruction in the second (adr,
/// arch/arm64/kernel/probes/decode-insn.c).
pub const PROBED_FUNCTIONS: [&[u8]; 2] = [
    // add w0, w0, #7; ret
    &[0x00, 0x1c, 0x00, 0x11, 0xc0, 0x03, 0x5f, 0xd6],
    // adr x9, .; add w0, w0, #7; ret
    &[0x09, 0x00, 0x00, 0x10, 0x00, 0x1c, 0x00, 0x11, 0xc0, 0x03, 0x5f, 0xd6],
];

/// Eight bytes of code whose first instruction is a breakpoint.
#[must_use]
pub const fn with_breakpoint(code: u64) -> u64 {
    // brk #0
    code & !0xffff_ffff | 0xd420_0000
}
