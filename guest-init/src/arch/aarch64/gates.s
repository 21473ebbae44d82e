# SPDX-License-Identifier: Apache-2.0 OR MIT
# The frame of a gate, by offset: 0 and 8 scratch, 16 the address of the output, 24 the address of the
# output of vector registers, from 32 on the callee-saved registers.
.macro SUDBOX_SAVE
    sub sp, sp, #192
    stp x1, x3, [sp, #16]
    stp x19, x20, [sp, #32]
    stp x21, x22, [sp, #48]
    stp x23, x24, [sp, #64]
    stp x25, x26, [sp, #80]
    stp x27, x28, [sp, #96]
    stp x29, x30, [sp, #112]
    stp d8, d9, [sp, #128]
    stp d10, d11, [sp, #144]
    stp d12, d13, [sp, #160]
    stp d14, d15, [sp, #176]
.endm

# Loads all registers but SP and PC from the `Registers` at x0.
.macro SUDBOX_LOAD
    ldr x1, [x0, #264]
    msr nzcv, x1
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    ldr x\n, [x0, #(8 * \n)]
    .endr
    ldr x0, [x0]
.endm

# Stores all registers. Expects x0 and x1 after the call in the scratch, and the address of the continuation in x0.
.macro SUDBOX_STORE
    ldr x1, [sp, #16]
    str x0, [x1, #256]
    mrs x0, nzcv
    str x0, [x1, #264]
    .irp n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    str x\n, [x1, #(8 * \n)]
    .endr
    ldp x2, x3, [sp]
    stp x2, x3, [x1]
    mov x2, sp
    str x2, [x1, #248]
.endm

.macro SUDBOX_RETURN
    ldp x19, x20, [sp, #32]
    ldp x21, x22, [sp, #48]
    ldp x23, x24, [sp, #64]
    ldp x25, x26, [sp, #80]
    ldp x27, x28, [sp, #96]
    ldp x29, x30, [sp, #112]
    ldp d8, d9, [sp, #128]
    ldp d10, d11, [sp, #144]
    ldp d12, d13, [sp, #160]
    ldp d14, d15, [sp, #176]
    add sp, sp, #192
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
    svc #0
\name\()_after:
    stp x0, x1, [sp]
    adr x0, \name\()_after
    b 2f
\name\()_other_continuation:
    stp x0, x1, [sp]
    adr x0, \name\()_other_continuation
2:
    SUDBOX_STORE
    SUDBOX_RETURN
\name\()_end:
.endm

# A C function that repeats an operation x0 times. The operation finds the second argument in x20 and, each
# time, in x8; and the third argument in x21. Returns x0 after the last repetition.
.macro SUDBOX_REPEAT name, operation:vararg
    .balign 64
    .globl \name
    .globl \name\()_end
\name:
    stp x29, x30, [sp, #-48]!
    stp x19, x20, [sp, #16]
    str x21, [sp, #32]
    mov x19, x0
    mov x20, x1
    mov x21, x2
6:
    mov x8, x20
    \operation
    subs x19, x19, #1
    b.ne 6b
    ldr x21, [sp, #32]
    ldp x19, x20, [sp, #16]
    ldp x29, x30, [sp], #48
    ret
\name\()_end:
.endm

.section .text.sudbox, "ax", @progbits
.balign 4096
.globl sudbox_inside_start
sudbox_inside_start:

.globl sudbox_syscall
sudbox_syscall:
    mov x8, x0
    mov x0, x1
    mov x1, x2
    mov x2, x3
    mov x3, x4
    mov x4, x5
    mov x5, x6
    svc #0
    ret

.globl sudbox_spawn
sudbox_spawn:
    mov x8, x0
    mov x0, x1
    mov x1, x2
    mov x2, x3
    mov x3, x4
    mov x4, #0
    svc #0
    cbz x0, 3f
    ret
# The child: calls the function that `prepare_stack` wrote to the stack, and exits.
3:
    mov x29, #0
    mov x30, #0
    ldp x9, x0, [sp], #16
    blr x9
    mov x8, #93 // exit
    svc #0
    udf #0

.globl sudbox_restorer
sudbox_restorer:
    mov x8, #139 // rt_sigreturn
    svc #0
    udf #0

SUDBOX_REPEAT sudbox_repeat_inside, svc #0

.globl sudbox_inside_end
sudbox_inside_end:

.balign 4096
.globl sudbox_outside_restorer
.globl sudbox_outside_restorer_call
sudbox_outside_restorer:
    mov x8, #139 // rt_sigreturn
sudbox_outside_restorer_call:
    svc #0
    udf #0

SUDBOX_REPEAT sudbox_repeat_outside, svc #0
SUDBOX_REPEAT sudbox_repeat_nothing
SUDBOX_REPEAT sudbox_repeat_flip, strb wzr, [x21]
SUDBOX_REPEAT sudbox_repeat_rewritten, blr x21

# The trampoline of a rewritten call site: calls the emulator, a C function, with the number, and
# preserves the registers that a system call preserves and a C function does not.
.balign 64
.globl sudbox_trampoline
sudbox_trampoline:
    stp x29, x30, [sp, #-160]!
    stp x1, x2, [sp, #16]
    stp x3, x4, [sp, #32]
    stp x5, x6, [sp, #48]
    stp x7, x8, [sp, #64]
    stp x9, x10, [sp, #80]
    stp x11, x12, [sp, #96]
    stp x13, x14, [sp, #112]
    stp x15, x16, [sp, #128]
    stp x17, x18, [sp, #144]
    mov x0, x8
    bl sudbox_emulate_call
    ldp x17, x18, [sp, #144]
    ldp x15, x16, [sp, #128]
    ldp x13, x14, [sp, #112]
    ldp x11, x12, [sp, #96]
    ldp x9, x10, [sp, #80]
    ldp x7, x8, [sp, #64]
    ldp x5, x6, [sp, #48]
    ldp x3, x4, [sp, #32]
    ldp x1, x2, [sp, #16]
    ldp x29, x30, [sp], #160
    ret

SUDBOX_GATE sudbox_first
SUDBOX_GATE sudbox_second

# A gate that also loads the vector registers, FPSR and FPCR from the memory at x2, and stores them to x3.
.balign 64
.globl sudbox_float
.globl sudbox_float_call
sudbox_float:
    SUDBOX_SAVE
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr q\n, [x2, #(16 * \n)]
    .endr
    ldr x1, [x2, #512]
    msr fpsr, x1
    ldr x1, [x2, #520]
    msr fpcr, x1
    SUDBOX_LOAD
sudbox_float_call:
    svc #0
4:
    stp x0, x1, [sp]
    ldr x0, [sp, #24]
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str q\n, [x0, #(16 * \n)]
    .endr
    mrs x1, fpsr
    str x1, [x0, #512]
    mrs x1, fpcr
    str x1, [x0, #520]
    msr fpsr, xzr
    msr fpcr, xzr
    adr x0, 4b
    SUDBOX_STORE
    SUDBOX_RETURN

# A gate that also loads the scalable registers z0 to z31 and p0 to p15 from the memory at x2, and stores
# them to x3. Their lengths depend on the machine's vector length.
.arch_extension sve
.balign 64
.globl sudbox_scalable
.globl sudbox_scalable_call
sudbox_scalable:
    SUDBOX_SAVE
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    ldr z\n, [x2, #\n, mul vl]
    .endr
    addvl x1, x2, #31
    addvl x1, x1, #1
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    ldr p\n, [x1, #\n, mul vl]
    .endr
    SUDBOX_LOAD
sudbox_scalable_call:
    svc #0
5:
    stp x0, x1, [sp]
    ldr x0, [sp, #24]
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str z\n, [x0, #\n, mul vl]
    .endr
    addvl x1, x0, #31
    addvl x1, x1, #1
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    str p\n, [x1, #\n, mul vl]
    .endr
    adr x0, 5b
    SUDBOX_STORE
    SUDBOX_RETURN

.globl sudbox_vector_length
sudbox_vector_length:
    rdvl x0, #1
    ret

.arch_extension nosve
.text
