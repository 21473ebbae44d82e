# SPDX-License-Identifier: Apache-2.0 OR MIT
# Foreign programs for the sandbox, copied to the address at which they run.
.option push
.option norvc
.option norelax

.section .rodata.sudbox_foreign, "a", @progbits

# The personality `alien`: number in a7, arguments in s2 to s5, results in s6 and s7, t6 is 1 if the
# call failed. gp and tp stay as they are.
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

.macro ALIEN number
    li a7, \number
    ecall
.endm

# Branches to alien_wrong_n by a jump, since a conditional branch reaches only 4 KiB.
.macro WRONG_IF condition, a, b, n
    \condition \a, \b, 9f
    j 8f
9:
    j alien_wrong_\n
8:
.endm

.balign 4096
.globl sudbox_alien
.globl sudbox_alien_end
sudbox_alien:
    # 1: say a text.
    lla s2, alien_hello
    li s3, 21
    ALIEN ALIEN_SAY
    WRONG_IF bne, t6, zero, 1
    li t0, 21
    WRONG_IF bne, s6, t0, 1
    # 2: unknown numbers: one that differs from a known one only above bit 31, and Linux's numbers of exit_group, of exit and of getpid on x86-64.
    .irp number, 0xb11e000000000027, 231, 60, 39, 0xffffffffffffffff
    ALIEN \number
    WRONG_IF beq, t6, zero, 2
    WRONG_IF bne, s6, a7, 2
    .endr
    # 3: a call preserves all other registers.
    .irp n, 5,6,7,8,9,10,11,12,13,14,15,16,24,25,26,27,28,29,30
    li x\n, 0x100 + \n
    .endr
    li s2, 1
    ALIEN ALIEN_NAP
    WRONG_IF bne, t6, zero, 3
    .irp n, 5,6,7,8,9,10,11,12,13,14,15,16,24,25,26,27,28,29,30
    addi x\n, x\n, -(0x100 + \n)
    WRONG_IF bne, x\n, zero, 3
    .endr
    addi s2, s2, -1
    WRONG_IF bne, s2, zero, 3
    # 4: map memory, write it, say it, make it read-only, write it again: a fault, which is handled.
    li s2, 4096
    li s3, 3
    ALIEN ALIEN_MAP
    WRONG_IF bne, t6, zero, 4
    mv s8, s6
    li t0, 0x0a65726568776f6e # "nowhere\n"
    sd t0, 0(s8)
    mv s2, s8
    li s3, 8
    ALIEN ALIEN_SAY
    WRONG_IF bne, t6, zero, 4
    mv s2, s8
    li s3, 4096
    li s4, 1
    ALIEN ALIEN_PROTECT
    WRONG_IF bne, t6, zero, 4
    lla s2, alien_faulted
    ALIEN ALIEN_FAULTS
    WRONG_IF bne, t6, zero, 4
    j alien_fault
    # The addresses in transcripts must be the same on all architectures.
    .org sudbox_alien + 0x800
alien_fault:
    sb zero, 0(s8)
    j alien_wrong_5
    .org sudbox_alien + 0x840
alien_faulted:
    # 5: s6 is the address of the faulting instruction, s7 the address that it accessed.
    lla t0, alien_fault
    WRONG_IF bne, s6, t0, 5
    WRONG_IF bne, s7, s8, 5
    # 6: say unmapped memory.
    li s2, 16
    li s3, 1
    ALIEN ALIEN_SAY
    WRONG_IF beq, t6, zero, 6
    # 7: start a thread, which sets a flag in memory.
    mv s2, s8
    li s3, 4096
    li s4, 3
    ALIEN ALIEN_PROTECT
    WRONG_IF bne, t6, zero, 7
    lla s2, alien_thread
    mv s3, s8
    ALIEN ALIEN_SPAWN
    WRONG_IF bne, t6, zero, 7
    mv s2, s6
    ALIEN ALIEN_JOIN
    WRONG_IF bne, t6, zero, 7
    lw t0, 64(s8)
    addi t0, t0, -7
    WRONG_IF bne, t0, zero, 7
    # 8: a callback during a call, and callbacks within it.
    lla s2, alien_nested
    li s3, 2
    ALIEN ALIEN_CALL
    WRONG_IF bne, t6, zero, 8
    addi s6, s6, -7
    WRONG_IF bne, s6, zero, 8
    lw t0, 64(s8)
    addi t0, t0, -7
    WRONG_IF bne, t0, zero, 8
    li s2, 0
    ALIEN ALIEN_STOP
    unimp

.irp n, 1, 2, 3, 4, 5, 6, 7, 8
alien_wrong_\n:
    li s2, \n
    ALIEN ALIEN_STOP
    unimp
.endr

    .org sudbox_alien + 0xc00
alien_thread:
    # The thread's argument is in s2.
    mv s8, s2
    lla s2, alien_other
    li s3, 13
    ALIEN ALIEN_SAY
    li t0, 7
    sw t0, 64(s8)
    li s2, 5
    ALIEN ALIEN_LEAVE
    unimp

    .org sudbox_alien + 0xd00
alien_nested:
    # The argument is in s2. Callback 0 returns 1; callback n returns twice the result of callback n-1, plus 1.
    beqz s2, 7f
    addi s3, s2, -1
    lla s2, alien_nested
    ALIEN ALIEN_CALL
    WRONG_IF bne, t6, zero, 8
    add s2, s6, s6
    addi s2, s2, 1
    ALIEN ALIEN_DONE
    unimp
7:
    li s2, 1
    ALIEN ALIEN_DONE
    unimp

    .org sudbox_alien + 0xf00
alien_hello: .ascii "hello from elsewhere\n"
    .org sudbox_alien + 0xf40
alien_other: .ascii "and a thread\n"
sudbox_alien_end:

# Escapes by the two methods in the kernel's documentation. s2: a function that calls the kernel in the
# allowed range; s3: the selector; s4: 1 to call the function, 2 to set the selector, 0 for neither.
# The call is umask(0123).
.balign 4096
.globl sudbox_escape
.globl sudbox_escape_end
sudbox_escape:
    li t0, 1
    beq s4, t0, 1f
    li t0, 2
    bne s4, t0, 2f
    sb zero, 0(s3)
2:
    li a7, 166 # umask
    li a0, 0x53
    ecall
    li t0, 1
    sb t0, 0(s3)
    j 3f
1:
    li a0, 166 # umask
    li a1, 0x53
    jalr s2
3:
    li s2, 0
    ALIEN ALIEN_STOP
    unimp
sudbox_escape_end:

.option pop
.text
