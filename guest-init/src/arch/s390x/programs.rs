// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Machine code of test programs, generated at run time.

/// `e_machine` of ELF files (`EM_S390`, uapi/linux/elf-em.h).
pub const ELF_MACHINE: u16 = 22;
/// `e_flags` of ELF files.
pub const ELF_FLAGS: u32 = 0;

/// The code of [`tiny_program`](crate::arch::tiny_program).
#[must_use]
pub fn tiny_program_code(code: u8) -> Vec<u8> {
    [
        &[0xa7, 0x29, 0, 0][..],               // lghi %r2, 0
        &[0xa7, 0x19, 0, 41],                  // lghi %r1, 41 (dup)
        &[0x0a, 0x00],                         // svc 0
        &[0xeb, 0x22, 0x00, 0x3f, 0x00, 0x0c], // srlg %r2, %r2, 63
        &[0xa7, 0x2b, 0, code],                // aghi %r2, code
        &[0xa7, 0x19, 0, 248],                 // lghi %r1, 248 (exit_group)
        &[0x0a, 0x00],                         // svc 0
        &[0x00, 0x00],                         // an illegal instruction
    ]
    .concat()
}

/// Functions of an integer that return the integer plus
/// [`PROBED_INCREMENT`](crate::arch::PROBED_INCREMENT). A uprobe on the first instruction executes a copy of
/// the instruction in the first function, and emulates the instruction in the second (larl,
/// `handle_insn_ril()`, arch/s390/kernel/uprobes.c).
pub const PROBED_FUNCTIONS: [&[u8]; 2] = [
    // ahi %r2, 7; br %r14
    &[0xa7, 0x2a, 0x00, 0x07, 0x07, 0xfe],
    // larl %r1, .; ahi %r2, 7; br %r14
    &[0xc0, 0x10, 0x00, 0x00, 0x00, 0x00, 0xa7, 0x2a, 0x00, 0x07, 0x07, 0xfe],
];

/// Eight bytes of code with a breakpoint in place of their first instruction (`S390_BREAKPOINT_U16`,
/// arch/s390/include/uapi/asm/ptrace.h).
#[must_use]
pub const fn with_breakpoint(code: u64) -> u64 {
    code & (u64::MAX >> 16) | 1 << 48
}
