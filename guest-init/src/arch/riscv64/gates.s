# SPDX-License-Identifier: Apache-2.0 OR MIT
# Without compressed instructions and relaxation, all lengths and addresses are known, and copied code works.
.option push
# The target features of the whole program do not apply to this file.
.option arch, +f, +d
.option norvc
.option norelax

# The frame of a gate, by offset: 0 and 8 scratch, 16 the address of the output, from 24 on the callee-saved
# registers, 144 the address of the output of floating point registers.
.macro SUDBOX_SAVE
    addi sp, sp, -160
    sd a1, 16(sp)
    sd ra, 24(sp)
    sd gp, 32(sp)
    sd tp, 40(sp)
    sd s0, 48(sp)
    sd s1, 56(sp)
    sd s2, 64(sp)
    sd s3, 72(sp)
    sd s4, 80(sp)
    sd s5, 88(sp)
    sd s6, 96(sp)
    sd s7, 104(sp)
    sd s8, 112(sp)
    sd s9, 120(sp)
    sd s10, 128(sp)
    sd s11, 136(sp)
    sd a3, 144(sp)
.endm

# Loads all registers but SP and PC from the `Registers` at a0.
.macro SUDBOX_LOAD
    .irp n, 1,3,4,5,6,7,8,9,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ld x\n, (8 * \n)(a0)
    .endr
    ld a0, 80(a0)
.endm

# Stores all registers. Expects t0 and t1 after the call in the scratch, and the address of the continuation in t1.
.macro SUDBOX_STORE
    ld t0, 16(sp)
    sd t1, 0(t0)
    .irp n, 1,2,3,4,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    sd x\n, (8 * \n)(t0)
    .endr
    ld t1, 0(sp)
    sd t1, 40(t0)
    ld t1, 8(sp)
    sd t1, 48(t0)
.endm

.macro SUDBOX_RETURN
    ld ra, 24(sp)
    ld gp, 32(sp)
    ld tp, 40(sp)
    ld s0, 48(sp)
    ld s1, 56(sp)
    ld s2, 64(sp)
    ld s3, 72(sp)
    ld s4, 80(sp)
    ld s5, 88(sp)
    ld s6, 96(sp)
    ld s7, 104(sp)
    ld s8, 112(sp)
    ld s9, 120(sp)
    ld s10, 128(sp)
    ld s11, 136(sp)
    addi sp, sp, 160
    ret
.endm

.macro SUDBOX_GATE name
    .balign 64
    .globl \name
    .globl \name\()_call
    .globl \name\()_other_continuation
    .globl \name\()_end
\name:
    SUDBOX_SAVE
    SUDBOX_LOAD
\name\()_call:
    ecall
\name\()_after:
    sd t0, 0(sp)
    sd t1, 8(sp)
    lla t1, \name\()_after
    j 2f
\name\()_other_continuation:
    sd t0, 0(sp)
    sd t1, 8(sp)
    lla t1, \name\()_other_continuation
2:
    SUDBOX_STORE
    SUDBOX_RETURN
\name\()_end:
.endm

# A C function that repeats an operation a0 times. The operation finds the second argument in s2 and, each
# time, in a7; and the third argument in s3. Returns a0 after the last repetition.
.macro SUDBOX_REPEAT name, operation:vararg
    .balign 64
    .globl \name
    .globl \name\()_end
\name:
    addi sp, sp, -32
    sd ra, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    sd s3, 24(sp)
    mv s1, a0
    mv s2, a1
    mv s3, a2
6:
    mv a7, s2
    \operation
    addi s1, s1, -1
    bnez s1, 6b
    ld s3, 24(sp)
    ld s2, 16(sp)
    ld s1, 8(sp)
    ld ra, 0(sp)
    addi sp, sp, 32
    ret
\name\()_end:
.endm

.section .text.sudbox, "ax", @progbits
.balign 4096
.globl sudbox_inside_start
sudbox_inside_start:

.globl sudbox_syscall
sudbox_syscall:
    mv t0, a0
    mv a0, a1
    mv a1, a2
    mv a2, a3
    mv a3, a4
    mv a4, a5
    mv a5, a6
    mv a7, t0
    ecall
    ret

.globl sudbox_spawn
sudbox_spawn:
    mv a7, a0
    mv a0, a1
    mv a1, a2
    mv a2, a3
    mv a3, a4
    li a4, 0
    ecall
    beqz a0, 3f
    ret
# The child: calls the function that `prepare_stack` wrote to the stack, and exits.
3:
    li s0, 0
    ld t0, 0(sp)
    ld a0, 8(sp)
    addi sp, sp, 16
    jalr t0
    li a7, 93 # exit
    ecall
    unimp

.globl sudbox_restorer
sudbox_restorer:
    li a7, 139 # rt_sigreturn
    ecall
    unimp

SUDBOX_REPEAT sudbox_repeat_inside, ecall

.globl sudbox_inside_end
sudbox_inside_end:

# The stub that the kernel enters as the handler, with the vDSO's restorer in ra. The table has the handler and
# the restorer of each signal.
.globl sudbox_handler_stub
sudbox_handler_stub:
    lla t0, sudbox_handler_table
    slli t1, a0, 4
    add t0, t0, t1
    ld ra, 8(t0)
    ld t1, 0(t0)
    # Reload gp, which the program under test may have changed.
    lla gp, __global_pointer$
    jr t1

.balign 4096
.globl sudbox_outside_restorer
.globl sudbox_outside_restorer_call
sudbox_outside_restorer:
    li a7, 139 # rt_sigreturn
sudbox_outside_restorer_call:
    ecall
    unimp

SUDBOX_REPEAT sudbox_repeat_outside, ecall
SUDBOX_REPEAT sudbox_repeat_nothing
SUDBOX_REPEAT sudbox_repeat_flip, sb zero, 0(s3)
SUDBOX_REPEAT sudbox_repeat_rewritten, jalr s3

# The trampoline of a rewritten call site: calls the emulator, a C function, with the number, and
# preserves the registers that a system call preserves and a C function does not.
.balign 64
.globl sudbox_trampoline
sudbox_trampoline:
    addi sp, sp, -256
    sd ra, 0(sp)
    .irp n, 5,6,7,11,12,13,14,15,16,17,28,29,30,31
    sd x\n, (8 * \n)(sp)
    .endr
    mv a0, a7
    call sudbox_emulate_call
    .irp n, 5,6,7,11,12,13,14,15,16,17,28,29,30,31
    ld x\n, (8 * \n)(sp)
    .endr
    ld ra, 0(sp)
    addi sp, sp, 256
    ret

SUDBOX_GATE sudbox_first
SUDBOX_GATE sudbox_second

# A gate that also loads the floating point registers from the memory at a2, and stores them to a3.
.balign 64
.globl sudbox_float
.globl sudbox_float_call
sudbox_float:
    SUDBOX_SAVE
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fld f\n, (8 * \n)(a2)
    .endr
    ld t0, 256(a2)
    fscsr t0
    SUDBOX_LOAD
sudbox_float_call:
    ecall
4:
    sd t0, 0(sp)
    sd t1, 8(sp)
    ld t0, 144(sp)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fsd f\n, (8 * \n)(t0)
    .endr
    frcsr t1
    sd t1, 256(t0)
    fscsr zero
    lla t1, 4b
    SUDBOX_STORE
    SUDBOX_RETURN

.option pop
.text
