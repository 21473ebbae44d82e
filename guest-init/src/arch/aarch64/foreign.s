# SPDX-License-Identifier: Apache-2.0 OR MIT
# Foreign programs for the sandbox, copied to the address at which they run.

.section .rodata.sudbox_foreign, "a", @progbits

# The personality `alien`: number in x8, arguments in x19 to x22, results in x23 and x24, carry set
# if the call failed.
.set ALIEN_SAY, 0xa11e000000000027
.set ALIEN_MAP, 0xa11e0000000000e7
.set ALIEN_PROTECT, 0xa11effff0000003c
.set ALIEN_SPAWN, 0x000000010000003c
.set ALIEN_JOIN, 0x000000020000003c
.set ALIEN_CALL, 0x000000030000003c
.set ALIEN_DONE, 0x000000040000003c
.set ALIEN_NAP, 0x8000000000000001
.set ALIEN_FAULTS, 0x7fffffffffffff01
.set ALIEN_LEAVE, 0xfffffffffffffffe
.set ALIEN_STOP, 0x0000003c00000000

.macro LOAD register, value
    movz \register, #((\value) & 0xffff)
    movk \register, #(((\value) >> 16) & 0xffff), lsl #16
    movk \register, #(((\value) >> 32) & 0xffff), lsl #32
    movk \register, #(((\value) >> 48) & 0xffff), lsl #48
.endm

.macro ALIEN number
    LOAD x8, \number
    svc #0
.endm

.balign 4096
.globl sudbox_alien
.globl sudbox_alien_end
sudbox_alien:
    # 1: say a text.
    adr x19, alien_hello
    mov x20, #21
    ALIEN ALIEN_SAY
    b.cs alien_wrong_1
    cmp x23, #21
    b.ne alien_wrong_1
    # 2: unknown numbers: one that differs from a known one only above bit 31, and Linux's numbers of exit_group, of exit and of getpid on x86-64.
    .irp number, 0xb11e000000000027, 231, 60, 39, 0xffffffffffffffff
    ALIEN \number
    b.cc alien_wrong_2
    cmp x23, x8
    b.ne alien_wrong_2
    .endr
    # 3: a call preserves all other registers. (A tracer cannot see x7 at a call.)
    .irp n, 0,1,2,3,4,5,6,9,10,11,12,13,14,15,16,17
    mov x\n, #(0x100 + \n)
    .endr
    mov x19, #1
    ALIEN ALIEN_NAP
    b.cs alien_wrong_3
    .irp n, 0,1,2,3,4,5,6,9,10,11,12,13,14,15,16,17
    cmp x\n, #(0x100 + \n)
    b.ne alien_wrong_3
    .endr
    cmp x19, #1
    b.ne alien_wrong_3
    # 4: map memory, write it, say it, make it read-only, write it again: a fault, which is handled.
    mov x19, #4096
    mov x20, #3
    ALIEN ALIEN_MAP
    b.cs alien_wrong_4
    mov x25, x23
    LOAD x9, 0x0a65726568776f6e // "nowhere\n"
    str x9, [x25]
    mov x19, x25
    mov x20, #8
    ALIEN ALIEN_SAY
    b.cs alien_wrong_4
    mov x19, x25
    mov x20, #4096
    mov x21, #1
    ALIEN ALIEN_PROTECT
    b.cs alien_wrong_4
    adr x19, alien_faulted
    ALIEN ALIEN_FAULTS
    b.cs alien_wrong_4
    b alien_fault
    # The addresses in transcripts must be the same on all architectures.
    .org sudbox_alien + 0x800
alien_fault:
    strb wzr, [x25]
    b alien_wrong_5
    .org sudbox_alien + 0x840
alien_faulted:
    # 5: x23 is the address of the faulting instruction, x24 the address that it accessed.
    adr x19, alien_fault
    cmp x23, x19
    b.ne alien_wrong_5
    cmp x24, x25
    b.ne alien_wrong_5
    # 6: say unmapped memory.
    mov x19, #16
    mov x20, #1
    ALIEN ALIEN_SAY
    b.cc alien_wrong_6
    # 7: start a thread, which sets a flag in memory.
    mov x19, x25
    mov x20, #4096
    mov x21, #3
    ALIEN ALIEN_PROTECT
    b.cs alien_wrong_7
    adr x19, alien_thread
    mov x20, x25
    ALIEN ALIEN_SPAWN
    b.cs alien_wrong_7
    mov x19, x23
    ALIEN ALIEN_JOIN
    b.cs alien_wrong_7
    ldr w9, [x25, #64]
    cmp w9, #7
    b.ne alien_wrong_7
    # 8: a callback during a call, and callbacks within it.
    adr x19, alien_nested
    mov x20, #2
    ALIEN ALIEN_CALL
    b.cs alien_wrong_8
    cmp x23, #7
    b.ne alien_wrong_8
    ldr w9, [x25, #64]
    cmp w9, #7
    b.ne alien_wrong_8
    mov x19, #0
    ALIEN ALIEN_STOP
    udf #0

.irp n, 1, 2, 3, 4, 5, 6, 7, 8
alien_wrong_\n:
    mov x19, #\n
    ALIEN ALIEN_STOP
    udf #0
.endr

    .org sudbox_alien + 0xc00
alien_thread:
    # The thread's argument is in x19.
    mov x25, x19
    adr x19, alien_other
    mov x20, #13
    ALIEN ALIEN_SAY
    mov w9, #7
    str w9, [x25, #64]
    mov x19, #5
    ALIEN ALIEN_LEAVE
    udf #0

    .org sudbox_alien + 0xd00
alien_nested:
    # The argument is in x19. Callback 0 returns 1; callback n returns twice the result of callback n-1, plus 1.
    cbz x19, 8f
    sub x20, x19, #1
    adr x19, alien_nested
    ALIEN ALIEN_CALL
    b.cs alien_wrong_8
    add x19, x23, x23
    add x19, x19, #1
    ALIEN ALIEN_DONE
    udf #0
8:
    mov x19, #1
    ALIEN ALIEN_DONE
    udf #0

    .org sudbox_alien + 0xf00
alien_hello: .ascii "hello from elsewhere\n"
    .org sudbox_alien + 0xf40
alien_other: .ascii "and a thread\n"
sudbox_alien_end:

# Escapes by the two methods in the kernel's documentation. x19: a function that calls the kernel in the
# allowed range; x20: the selector; x21: 1 to call the function, 2 to set the selector, 0 for neither.
# The call is umask(0123).
.balign 4096
.globl sudbox_escape
.globl sudbox_escape_end
sudbox_escape:
    cmp x21, #1
    b.eq 1f
    cmp x21, #2
    b.ne 2f
    strb wzr, [x20]
2:
    mov x8, #166 // umask
    mov x0, #0x53
    svc #0
    mov w9, #1
    strb w9, [x20]
    b 3f
1:
    mov x0, #166 // umask
    mov x1, #0x53
    blr x19
3:
    mov x19, #0
    ALIEN ALIEN_STOP
    udf #0
sudbox_escape_end:

.text
