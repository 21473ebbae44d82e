# SPDX-License-Identifier: Apache-2.0 OR MIT
# The frame of a gate, by offset: 0 the address of the continuation, 16 the address of the output, 24 the
# address of the output of floating point registers, 32 to 47 scratch, 48 to 111 the callee-saved floating
# point registers, 112 the condition code after the call. The callee-saved general registers are in the save
# area of the caller's frame.
.macro SUDBOX_SAVE
    stmg %r6, %r15, 48(%r15)
    aghi %r15, -160
    stg %r3, 16(%r15)
    stg %r5, 24(%r15)
.endm

# The condition code and the exception mask are bits 40 to 45 of the PSW mask, and bits 24 to 29 of the
# operand of SPM and the result of IPM.
.macro SUDBOX_LOAD
    lg %r0, 0(%r2)
    srlg %r0, %r0, 16
    spm %r0
    lmg %r0, %r1, 16(%r2)
    lmg %r3, %r14, 40(%r2)
    lg %r2, 32(%r2)
.endm

# Stores all registers. Expects r0 and r1 after the call in the scratch, the address of the continuation in r1,
# and the result of IPM in r0.
.macro SUDBOX_STORE
    stg %r1, 0(%r15)
    lg %r1, 16(%r15)
    stmg %r2, %r15, 32(%r1)
    sllg %r0, %r0, 16
    stg %r0, 0(%r1)
    mvc 8(8, %r1), 0(%r15)
    mvc 16(16, %r1), 32(%r15)
.endm

.macro SUDBOX_RETURN
    lmg %r6, %r15, 48 + 160(%r15)
    br %r14
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
    svc 0
\name\()_after:
    stmg %r0, %r1, 32(%r15)
    lghi %r0, 0
    ipm %r0
    larl %r1, \name\()_after
    j 2f
\name\()_other_continuation:
    stmg %r0, %r1, 32(%r15)
    lghi %r0, 0
    ipm %r0
    larl %r1, \name\()_other_continuation
2:
    SUDBOX_STORE
    SUDBOX_RETURN
\name\()_end:
.endm

# A C function that repeats an operation r2 times. The operation finds the second argument in r7 and, each
# time, in r1; and the third argument in r8. Returns r2 after the last repetition.
.macro SUDBOX_REPEAT name, operation:vararg
    .balign 64
    .globl \name
    .globl \name\()_end
\name:
    stmg %r6, %r15, 48(%r15)
    aghi %r15, -160
    lgr %r6, %r2
    lgr %r7, %r3
    lgr %r8, %r4
6:
    lgr %r1, %r7
    \operation
    brctg %r6, 6b
    SUDBOX_RETURN
\name\()_end:
.endm

.section .text.sudbox, "ax", @progbits
.balign 4096
.globl sudbox_inside_start
sudbox_inside_start:

# The fifth and sixth argument of the call are the sixth and seventh of the function, on the stack.
.globl sudbox_syscall
sudbox_syscall:
    stmg %r6, %r7, 48(%r15)
    lgr %r1, %r2
    lgr %r2, %r3
    lgr %r3, %r4
    lgr %r4, %r5
    lgr %r5, %r6
    lg %r6, 160(%r15)
    lg %r7, 168(%r15)
    svc 0
    lmg %r6, %r7, 48(%r15)
    br %r14

.globl sudbox_spawn
sudbox_spawn:
    lgr %r1, %r2
    lgr %r2, %r3
    lgr %r3, %r4
    lgr %r4, %r5
    lgr %r5, %r6
    svc 0
    ltgr %r2, %r2
    jz 3f
    br %r14
# The child: calls the function that `prepare_stack` wrote above the 160 bytes for the callee, and exits.
3:
    lg %r1, 160(%r15)
    lg %r2, 168(%r15)
    basr %r14, %r1
    lghi %r1, 1 # exit
    svc 0
    j .

.globl sudbox_restorer
sudbox_restorer:
    lghi %r1, 173 # rt_sigreturn
    svc 0
    j .

SUDBOX_REPEAT sudbox_repeat_inside, svc 0

.globl sudbox_inside_end
sudbox_inside_end:

.balign 4096
.globl sudbox_outside_restorer
.globl sudbox_outside_restorer_call
sudbox_outside_restorer:
    lghi %r1, 173 # rt_sigreturn
sudbox_outside_restorer_call:
    svc 0
    j .

SUDBOX_REPEAT sudbox_repeat_outside, svc 0
SUDBOX_REPEAT sudbox_repeat_nothing
SUDBOX_REPEAT sudbox_repeat_flip, mvi 0(%r8), 0
SUDBOX_REPEAT sudbox_repeat_rewritten, basr %r14, %r8

# The trampoline of a rewritten call site: calls the emulator, a C function, with the number, and
# preserves the registers that a system call preserves and a C function does not. Its frame: 160 bytes for
# the callee, then r0 to r5 and r14.
.balign 64
.globl sudbox_trampoline
sudbox_trampoline:
    aghi %r15, -216
    stmg %r0, %r5, 160(%r15)
    stg %r14, 208(%r15)
    lgr %r2, %r1
    brasl %r14, sudbox_emulate_call
    lmg %r0, %r1, 160(%r15)
    lmg %r3, %r5, 184(%r15)
    lg %r14, 208(%r15)
    aghi %r15, 216
    br %r14

SUDBOX_GATE sudbox_first
SUDBOX_GATE sudbox_second

# A gate that also loads the floating point registers from the memory at r4, and stores them to r5.
.balign 64
.globl sudbox_float
.globl sudbox_float_call
sudbox_float:
    SUDBOX_SAVE
    .irp n, 8,9,10,11,12,13,14,15
    std %f\n, 48 + 8 * (\n - 8)(%r15)
    .endr
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    ld %f\n, 8 * \n(%r4)
    .endr
    lfpc 132(%r4)
    SUDBOX_LOAD
sudbox_float_call:
    svc 0
4:
    stmg %r0, %r1, 32(%r15)
    lghi %r0, 0
    ipm %r0
    lg %r1, 24(%r15)
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    std %f\n, 8 * \n(%r1)
    .endr
    stfpc 132(%r1)
    .irp n, 8,9,10,11,12,13,14,15
    ld %f\n, 48 + 8 * (\n - 8)(%r15)
    .endr
    larl %r1, 5f
    lfpc 0(%r1)
    larl %r1, 4b
    SUDBOX_STORE
    SUDBOX_RETURN
.balign 4
5:
    .long 0

.text
