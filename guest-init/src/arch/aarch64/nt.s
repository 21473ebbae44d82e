# SPDX-License-Identifier: Apache-2.0 OR MIT
# A program that issues the system calls of Windows on ARM64 itself: the number is in the instruction,
# eight arguments are in registers, x18 is the address of the TEB. The program's second page is writable.
# `personalities/nt.rs` has the names of the call numbers.

.section .rodata.sudbox_foreign, "a", @progbits
.balign 4096
.globl sudbox_nt
.globl sudbox_nt_end

# Ends the program with the number of the step, if the step failed.
.macro NT_UNLESS condition, step
    mov w27, #\step
    b.\condition 9f
    b nt_wrong
9:
.endm

# Writes \length bytes at x26 to the handle \handle.
.macro NT_WRITE handle, length
    mov x0, \handle
    mov x1, xzr
    mov x2, xzr
    mov x3, xzr
    add x4, sp, #0x50
    mov x5, x26
    mov x6, #\length
    mov x7, xzr
    str xzr, [sp]
    svc #0x08
.endm

sudbox_nt:
    sub sp, sp, #0x80
    # 1: the TEB has its own address and that of the PEB, which is the argument and has the console.
    ldr x9, [x18, #0x30]
    cmp x9, x18
    NT_UNLESS eq, 1
    ldr x9, [x18, #0x60]
    cmp x9, x0
    NT_UNLESS eq, 1
    ldr x25, [x0, #0x20]
    ldr x25, [x25, #0x28]
    # 2: write a text.
    adr x26, nt_text
    NT_WRITE x25, 20
    cmp x0, #0
    NT_UNLESS eq, 2
    ldr x9, [sp, #0x58]
    cmp x9, #20
    NT_UNLESS eq, 2
    # 3: unknown calls. x8, the number for Linux, is that of exit_group.
    mov x8, #94
    mov w9, #0x1c
    movk w9, #0xc000, lsl #16
    .irp number, 0x1fff, 0x5d, 0x5e
    svc #\number
    cmp w0, w9
    NT_UNLESS eq, 3
    cmp x8, #94
    NT_UNLESS eq, 3
    .endr
    # 4: allocate memory, write it, make it read-only.
    str xzr, [sp, #0x60]
    mov x9, #0x2345
    str x9, [sp, #0x68]
    mov x0, #-1
    add x1, sp, #0x60
    mov x2, xzr
    add x3, sp, #0x68
    mov x4, #0x3000
    mov x5, #4
    svc #0x18
    cmp x0, #0
    NT_UNLESS eq, 4
    ldr x9, [sp, #0x68]
    cmp x9, #0x3000
    NT_UNLESS eq, 4
    ldr x24, [sp, #0x60]
    mov w9, #0x5678
    str w9, [x24, #0x2ffc]
    mov x0, #-1
    add x1, sp, #0x60
    add x2, sp, #0x68
    mov x3, #2
    add x4, sp, #0x70
    svc #0x50
    cmp x0, #0
    NT_UNLESS eq, 4
    ldr w9, [sp, #0x70]
    cmp w9, #4
    NT_UNLESS eq, 4
    ldr w9, [x24, #0x2ffc]
    mov w10, #0x5678
    cmp w9, w10
    NT_UNLESS eq, 4
    # 5: the time, a delay, and the time again.
    add x0, sp, #0x70
    svc #0x5a
    cmp x0, #0
    NT_UNLESS eq, 5
    ldr x23, [sp, #0x70]
    mov x9, #-20000
    str x9, [sp, #0x70]
    mov x0, xzr
    add x1, sp, #0x70
    svc #0x34
    cmp x0, #0
    NT_UNLESS eq, 5
    add x0, sp, #0x70
    svc #0x5a
    ldr x9, [sp, #0x70]
    sub x9, x9, x23
    mov x10, #20000
    cmp x9, x10
    NT_UNLESS hs, 5
    # 6: an unreadable buffer, and an invalid handle.
    mov x26, #0x10
    NT_WRITE x25, 1
    mov w9, #5
    movk w9, #0xc000, lsl #16
    cmp w0, w9
    NT_UNLESS eq, 6
    mov x25, #0x4711
    NT_WRITE x25, 1
    add w9, w9, #3
    cmp w0, w9
    NT_UNLESS eq, 6
    # 7: start a thread and wait for it.
    add x0, sp, #0x60
    mov x1, #0x1fffff
    mov x2, xzr
    mov x3, #-1
    adr x4, nt_thread
    mov x5, #0x1234
    mov x6, xzr
    mov x7, xzr
    svc #0xc1
    cmp x0, #0
    NT_UNLESS eq, 7
    ldr x0, [sp, #0x60]
    mov x1, xzr
    mov x2, xzr
    svc #0x04
    cmp x0, #0
    NT_UNLESS eq, 7
    adr x9, sudbox_nt + 0x1800
    ldr w9, [x9]
    mov w10, #0x1234
    cmp w9, w10
    NT_UNLESS eq, 7
    mov w27, wzr
nt_wrong:
    mov x0, #-1
    mov w1, w27
    svc #0x2c
    udf #0

    .org sudbox_nt + 0x800
nt_thread:
    sub sp, sp, #0x80
    adr x9, sudbox_nt + 0x1800
    str w0, [x9]
    ldr x25, [x18, #0x60]
    ldr x25, [x25, #0x20]
    ldr x25, [x25, #0x28]
    adr x26, nt_other
    NT_WRITE x25, 14
    mov x0, #-2
    mov x1, #3
    svc #0x53
    udf #0

    .org sudbox_nt + 0xc00
nt_faulty:
    mov x9, #0x1230
    strb wzr, [x9]
    udf #0

    .org sudbox_nt + 0xf00
nt_text: .ascii "hello from Windows\r\n"
    .org sudbox_nt + 0xf40
nt_other: .ascii "and a thread\r\n"
    .org sudbox_nt + 0x1000
sudbox_nt_end:

.text
