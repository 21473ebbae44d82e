// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Machine code of test programs, generated at run time.

/// `e_machine` of ELF files (`EM_RISCV`, uapi/linux/elf-em.h).
pub const ELF_MACHINE: u16 = 243;
/// No compressed instructions, floating point in registers (`EF_RISCV_FLOAT_ABI_DOUBLE`).
pub const ELF_FLAGS: u32 = 4;

/// The code of [`tiny_program`](crate::arch::tiny_program).
#[must_use]
pub fn tiny_program_code(code: u8) -> Vec<u8> {
    let code = u32::from(code);
    let text = [
        0x0170_0893,              // li a7, 23 (dup)
        0x0000_0513,              // li a0, 0
        0x0000_0073,              // ecall
        0x03f5_5513,              // srli a0, a0, 63
        0x0005_0513 | code << 20, // addi a0, a0, code
        0x05e0_0893,              // li a7, 94 (exit_group)
        0x0000_0073,              // ecall
        0x0000_0000,              // unimp
    ];
    text.map(u32::to_le_bytes).concat()
}

/// Functions of an integer that return the integer plus
/// [`PROBED_INCREMENT`](crate::arch::PROBED_INCREMENT). A uprobe on the first instruction executes a copy of
/// the instruction in the first function, and emulates the instruction in the second (auipc,
/// arch/riscv/kernel/probes/decode-insn.c).
pub const PROBED_FUNCTIONS: [&[u8]; 2] = [
    // addiw a0, a0, 7; ret
    &[0x1b, 0x05, 0x75, 0x00, 0x67, 0x80, 0x00, 0x00],
    // auipc t0, 0; addiw a0, a0, 7; ret
    &[0x97, 0x02, 0x00, 0x00, 0x1b, 0x05, 0x75, 0x00, 0x67, 0x80, 0x00, 0x00],
];

/// Eight bytes of code whose first instruction is a breakpoint.
#[must_use]
pub const fn with_breakpoint(code: u64) -> u64 {
    // ebreak
    code & !0xffff_ffff | 0x0010_0073
}
