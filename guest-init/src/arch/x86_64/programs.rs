// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Machine code of test programs, generated at run time.

/// `e_machine` of ELF files (`EM_X86_64`, uapi/linux/elf-em.h).
pub const ELF_MACHINE: u16 = 62;
/// `e_flags` of ELF files.
pub const ELF_FLAGS: u32 = 0;

/// The code of [`tiny_program`](crate::arch::tiny_program).
#[must_use]
pub fn tiny_program_code(code: u8) -> Vec<u8> {
    [
        &[0xb8, 32, 0, 0, 0][..], // mov eax, 32 (dup)
        &[0x31, 0xff],            // xor edi, edi
        &[0x0f, 0x05],            // syscall
        &[0xc1, 0xe8, 31],        // shr eax, 31
        &[0x8d, 0x78, code],      // lea edi, [rax + code]
        &[0xb8, 231, 0, 0, 0],    // mov eax, 231 (exit_group)
        &[0x0f, 0x05],            // syscall
    ]
    .concat()
}

/// Eight bytes of code with a breakpoint (`int3`) at their start.
#[must_use]
pub fn with_breakpoint(code: u64) -> u64 {
    code & !0xff | 0xcc
}

/// Functions of an integer that return the integer plus
/// [`PROBED_INCREMENT`](crate::arch::PROBED_INCREMENT): `nop; lea eax,[rdi+7]; ret`. A uprobe on the first
/// instruction is optimised to a call (`can_optimize()`, arch/x86/kernel/uprobes.c): 6.18 replaces a nop of 5
/// bytes, 7.2.13 and 7.3 one of 10 bytes.
pub const PROBED_FUNCTIONS: [&[u8]; 2] = [
    &[0x0f, 0x1f, 0x44, 0, 0, 0x8d, 0x47, 7, 0xc3],
    &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x8d, 0x47, 7, 0xc3],
];
