// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A 32-bit program, in machine code, since the assembler of 64-bit code does not support 32-bit instructions.

/// The address of the program.
const BASE: u32 = 0x1_0000;
/// Length of the ELF header and of one program header (elf(5), 32 bits).
const HEADERS: u32 = 52 + 32;
/// The length of the program in memory: its code, and at offset 4096 its records and the selector.
const LENGTH: u32 = 0x2000;

/// Number of bytes that the program writes to descriptor 1 at its end: the address after its last record, then
/// the records.
pub const AARCH32_OUTPUT_LENGTH: usize = 0x200;
/// The compared addresses of the program's calls, in ARM and in Thumb state.
pub const AARCH32_COMPARED_ADDRESSES: [u32; 2] = [BASE + 0xf4, BASE + 0x1b8];
/// The registers of the calls `umask(0x5f)`: r0 to r12 in ARM state, r0 to r7 in Thumb state.
pub const AARCH32_PATTERNS: [&[u32]; 2] = [
    &[0x5f, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 60, 0xa8, 0xa9, 0xaa, 0xab, 0xac],
    &[0x5f, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 60],
];
/// `si_arch` of the program's calls (`AUDIT_ARCH_ARM`).
pub const AARCH32_AUDIT_ARCH: u32 = 0x4000_0028;

/// The program's code. The program handles SIGSYS without a restorer, and arms with its first
/// instructions as the allowed range. Then it issues three calls: with BLOCK in ARM and in Thumb state, and
/// with ALLOW in ARM state. In each handler it records six words of siginfo, and r0 to r15 and the
/// processor state of the frame. After each call it records r0 to r12. It exits with 0, or with the result of
/// a failed call of its setup.
#[rustfmt::skip]
const CODE: [u32; 100] = [
    // _start:
    0xe301_4000, // movw r4, #4096
    0xe340_4001, // movt r4, #1
    0xe284_8004, // add r8, r4, #4
    0xe584_8000, // str r8, [r4]
    0xe284_4b02, // add r4, r4, #2048
    0xe3a0_70ae, // mov r7, #174 (rt_sigaction)
    0xe3a0_001f, // mov r0, #31 (SIGSYS)
    0xe28f_1f49, // add r1, pc, #292
    0xe3a0_2000, // mov r2, #0
    0xe3a0_3008, // mov r3, #8
    0xef00_0000, // svc 0x00000000
    0xe350_0000, // cmp r0, #0
    0x1a00_0014, // bne 0x100dc
    0xe3a0_70ac, // mov r7, #172 (prctl)
    0xe3a0_003b, // mov r0, #59 (PR_SET_SYSCALL_USER_DISPATCH)
    0xe3a0_1001, // mov r1, #1
    0xe24f_2048, // sub r2, pc, #72
    0xe3a0_3090, // mov r3, #144
    0xef00_0000, // svc 0x00000000
    0xe350_0000, // cmp r0, #0
    0x1a00_000c, // bne 0x100dc
    0xe3a0_0001, // mov r0, #1
    0xe5c4_0000, // strb r0, [r4]
    0xeb00_000b, // bl arm_call
    0xe3a0_0001, // mov r0, #1
    0xe5c4_0000, // strb r0, [r4]
    0xfa00_003b, // blx thumb_call
    0xeb00_0007, // bl arm_call
    0xe3a0_7004, // mov r7, #4 (write)
    0xe3a0_0001, // mov r0, #1
    0xe244_1b02, // sub r1, r4, #2048
    0xe3a0_2c02, // mov r2, #512
    0xef00_0000, // svc 0x00000000
    0xe3a0_0000, // mov r0, #0
    0xe3a0_7001, // mov r7, #1 (exit)
    0xef00_0000, // svc 0x00000000
    // arm_call:
    0xe92d_4010, // push {r4, lr}
    0xe28f_0010, // add r0, pc, #16
    0xe890_1fff, // ldm r0, {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, sl, fp, ip}
    0xef00_0000, // svc 0x00000000
    0xe92d_1fff, // push {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, sl, fp, ip}
    0xeb00_000d, // bl store
    0xe8bd_8010, // pop {r4, pc}
    // pattern:
    0x0000_005f,
    0x0000_00a1,
    0x0000_00a2,
    0x0000_00a3,
    0x0000_00a4,
    0x0000_00a5,
    0x0000_00a6,
    0x0000_003c,
    0x0000_00a8,
    0x0000_00a9,
    0x0000_00aa,
    0x0000_00ab,
    0x0000_00ac,
    // store:
    0xe301_3000, // movw r3, #4096
    0xe340_3001, // movt r3, #1
    0xe593_2000, // ldr r2, [r3]
    0xe8bd_1ff0, // pop {r4, r5, r6, r7, r8, r9, sl, fp, ip}
    0xe8a2_1ff0, // stmia r2!, {r4, r5, r6, r7, r8, r9, sl, fp, ip}
    0xe8bd_00f0, // pop {r4, r5, r6, r7}
    0xe8a2_00f0, // stmia r2!, {r4, r5, r6, r7}
    0xe583_2000, // str r2, [r3]
    0xe3a0_2000, // mov r2, #0
    0xe5c3_2800, // strb r2, [r3, #2048]
    0xe12f_ff1e, // bx lr
    // handler:
    0xe92d_03f0, // push {r4, r5, r6, r7, r8, r9}
    0xe301_3000, // movw r3, #4096
    0xe340_3001, // movt r3, #1
    0xe593_c000, // ldr ip, [r3]
    0xe891_03f0, // ldm r1, {r4, r5, r6, r7, r8, r9}
    0xe8ac_03f0, // stmia ip!, {r4, r5, r6, r7, r8, r9}
    0xe282_2020, // add r2, r2, #32
    0xe3a0_1011, // mov r1, #17
    0xe492_4004, // ldr r4, [r2], #4
    0xe48c_4004, // str r4, [ip], #4
    0xe251_1001, // subs r1, r1, #1
    0x1aff_fffb, // bne 0x10180
    0xe583_c000, // str ip, [r3]
    0xe8bd_03f0, // pop {r4, r5, r6, r7, r8, r9}
    0xe12f_ff1e, // bx lr
    // action:
    0x0001_0160,
    0x0000_0004,
    0x0000_0000,
    0x0000_0000,
    0x0000_0000,
    // thumb_call:
    0xa004_b510, // push {r4, lr}; add r0, pc, #16
    0xdf00_c8ff, // ldmia r0, {r0, r1, r2, r3, r4, r5, r6, r7}; svc 0
    0x1fff_e92d, // stmdb sp!, {r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, sl, fp, ip}
    0xefba_f7ff, // blx store
    0xbf00_bd10, // pop {r4, pc}; nop
    // thumb_pattern:
    0x0000_005f,
    0x0000_00b1,
    0x0000_00b2,
    0x0000_00b3,
    0x0000_00b4,
    0x0000_00b5,
    0x0000_00b6,
    0x0000_003c,
];

/// The program as an ELF file.
#[must_use]
pub fn aarch32_program() -> Vec<u8> {
    let size = HEADERS + 4 * u32::try_from(CODE.len()).unwrap_or(0);
    let mut image = Vec::new();
    image.extend_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    // e_type ET_EXEC, e_machine EM_ARM.
    image.extend_from_slice(&[2, 0, 40, 0]);
    // e_version, e_entry, e_phoff, e_shoff, e_flags (EABI version 5).
    for word in [1, BASE + HEADERS, 52, 0, 0x0500_0000] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx.
    image.extend_from_slice(&[52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0]);
    // PT_LOAD of the whole file, readable, writable and executable.
    for word in [1, 0, BASE, BASE, size, LENGTH, 7, 0x1000] {
        image.extend_from_slice(&u32::to_le_bytes(word));
    }
    image.extend(CODE.iter().flat_map(|word| word.to_le_bytes()));
    image
}
