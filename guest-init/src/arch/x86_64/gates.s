# SPDX-License-Identifier: Apache-2.0 OR MIT
# Saves the callee-saved registers, then the gate's arguments rcx and rsi: the addresses of the output of floating
# point registers and of the output of general registers.
.macro SUDBOX_SAVE
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rcx
    push rsi
.endm

# Loads all registers but RSP and RIP from the `Registers` at rdi.
.macro SUDBOX_LOAD
    mov r8, [rdi]
    mov r9, [rdi + 8]
    mov r10, [rdi + 16]
    mov r11, [rdi + 24]
    mov r12, [rdi + 32]
    mov r13, [rdi + 40]
    mov r14, [rdi + 48]
    mov r15, [rdi + 56]
    mov rsi, [rdi + 72]
    mov rbp, [rdi + 80]
    mov rbx, [rdi + 88]
    mov rdx, [rdi + 96]
    mov rax, [rdi + 104]
    mov rcx, [rdi + 112]
    push qword ptr [rdi + 136]
    popfq
    mov rdi, [rdi + 64]
.endm

# Stores all registers but RIP to the `Registers` at rdi. Expects on the stack, from the top: rdi and the flags
# after the call, and the registers of SUDBOX_SAVE.
.macro SUDBOX_STORE
    mov [rdi], r8
    mov [rdi + 8], r9
    mov [rdi + 16], r10
    mov [rdi + 24], r11
    mov [rdi + 32], r12
    mov [rdi + 40], r13
    mov [rdi + 48], r14
    mov [rdi + 56], r15
    mov [rdi + 72], rsi
    mov [rdi + 80], rbp
    mov [rdi + 88], rbx
    mov [rdi + 96], rdx
    mov [rdi + 104], rax
    mov [rdi + 112], rcx
    pop rax
    mov [rdi + 64], rax
    pop rax
    mov [rdi + 136], rax
    mov [rdi + 120], rsp
    # Compiled code must not run with some flags of the call, such as AC and TF.
    push 0x202
    popfq
.endm

.macro SUDBOX_RETURN
    pop rsi
    pop rcx
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
.endm

# A gate. `enter` is the instruction that enters the kernel.
.macro SUDBOX_GATE name, enter:vararg
    .balign 64
    .globl \name
    .globl \name\()_call
    .globl \name\()_other_continuation
    .globl \name\()_skip
    .globl \name\()_end
\name:
    SUDBOX_SAVE
    SUDBOX_LOAD
\name\()_call:
    \enter
\name\()_skip:
    pushfq
    push rdi
    mov rdi, [rsp + 16]
    push rax
    lea rax, [rip + \name\()_skip]
    mov [rdi + 128], rax
    pop rax
    jmp 2f
\name\()_other_continuation:
    pushfq
    push rdi
    mov rdi, [rsp + 16]
    push rax
    lea rax, [rip + \name\()_other_continuation]
    mov [rdi + 128], rax
    pop rax
2:
    SUDBOX_STORE
    SUDBOX_RETURN
\name\()_end:
.endm

# A C function that repeats an operation rdi times. The operation finds the second argument in r12 and, each
# time, in rax; and the third argument in r13. Returns rax after the last repetition.
.macro SUDBOX_REPEAT name, operation:vararg
    .balign 64
    .globl \name
    .globl \name\()_end
\name:
    push rbx
    push r12
    push r13
    mov rbx, rdi
    mov r12, rsi
    mov r13, rdx
6:
    mov rax, r12
    \operation
    dec rbx
    jnz 6b
    pop r13
    pop r12
    pop rbx
    ret
\name\()_end:
.endm

.section .text.sudbox, "ax", @progbits
.balign 4096
.globl sudbox_inside_start
sudbox_inside_start:

.globl sudbox_syscall
sudbox_syscall:
    mov rax, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    mov r10, r8
    mov r8, r9
    mov r9, [rsp + 8]
    syscall
    ret

.globl sudbox_spawn
sudbox_spawn:
    mov rax, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    mov r10, r8
    xor r8d, r8d
    syscall
    test rax, rax
    jz 3f
    ret
# The child: calls the function that `prepare_stack` wrote to the stack, and exits.
3:
    xor ebp, ebp
    pop rax
    pop rdi
    call rax
    mov rdi, rax
    mov eax, 60                     # exit
    syscall
    ud2

.globl sudbox_restorer
sudbox_restorer:
    mov eax, 15                     # rt_sigreturn
    syscall
    ud2

SUDBOX_REPEAT sudbox_repeat_inside, syscall

# A C function with the number and four arguments of a 32-bit call.
.globl sudbox_compat_syscall
sudbox_compat_syscall:
    push rbx
    mov eax, edi
    mov ebx, esi
    mov r9d, ecx
    mov ecx, edx
    mov edx, r9d
    mov esi, r8d
    int 0x80
    pop rbx
    ret

# Issues a 32-bit sigreturn, with the number of the call in EAX.
.globl sudbox_compat_restorer
sudbox_compat_restorer:
    int 0x80
    ud2

.globl sudbox_inside_end
sudbox_inside_end:

.balign 4096
.globl sudbox_outside_restorer
.globl sudbox_outside_restorer_call
sudbox_outside_restorer:
    mov eax, 15                     # rt_sigreturn
sudbox_outside_restorer_call:
    syscall
    ud2

SUDBOX_REPEAT sudbox_repeat_outside, syscall
SUDBOX_REPEAT sudbox_repeat_nothing
SUDBOX_REPEAT sudbox_repeat_flip, mov byte ptr [r13], 0
SUDBOX_REPEAT sudbox_repeat_rewritten, call r13

# The trampoline of a rewritten call site: calls the emulator, a C function, with the number, and
# preserves the registers that a system call preserves and a C function does not. r10 is pushed twice to
# align the stack.
.balign 64
.globl sudbox_trampoline
sudbox_trampoline:
    push rdi
    push rsi
    push rdx
    push r8
    push r9
    push r10
    push r10
    mov rdi, rax
    call sudbox_emulate_call
    pop r10
    pop r10
    pop r9
    pop r8
    pop rdx
    pop rsi
    pop rdi
    ret

SUDBOX_GATE sudbox_first, syscall
SUDBOX_GATE sudbox_second, syscall
SUDBOX_GATE sudbox_compat, int 0x80

# A gate that also loads the x87 and SSE state from the memory at rdx, and stores it to rcx.
.balign 64
.globl sudbox_sse
.globl sudbox_sse_call
sudbox_sse:
    SUDBOX_SAVE
    fxrstor64 [rdx]
    SUDBOX_LOAD
sudbox_sse_call:
    syscall
4:
    pushfq
    push rdi
    mov rdi, [rsp + 16]
    SUDBOX_STORE
    lea rax, [rip + 4b]
    mov [rdi + 128], rax
    mov rax, [rsp + 8]
    fxsave64 [rax]
    fninit
    push 0x1f80                     # the default of MXCSR
    ldmxcsr [rsp]
    pop rax
    SUDBOX_RETURN

# A gate that also loads the AVX registers from the memory at rdx, and stores them to rcx.
.balign 64
.globl sudbox_avx
.globl sudbox_avx_call
sudbox_avx:
    SUDBOX_SAVE
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu ymm\n, [rdx + 32 * \n]
    .endr
    SUDBOX_LOAD
sudbox_avx_call:
    syscall
5:
    pushfq
    push rdi
    mov rdi, [rsp + 16]
    SUDBOX_STORE
    lea rax, [rip + 5b]
    mov [rdi + 128], rax
    mov rax, [rsp + 8]
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu [rax + 32 * \n], ymm\n
    .endr
    vzeroupper
    SUDBOX_RETURN

.text
