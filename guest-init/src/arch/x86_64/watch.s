# SPDX-License-Identifier: Apache-2.0 OR MIT
# Gates and a handler that record the whole CPU state: every general register, the flags, the segment registers
# and the floating point state. A gate loads and stores this state; the handler stores it. Neither writes to the
# stack that the call or the handler is on, except for the flags, which a gate pushes right below the stack
# pointer of the call. The state is stored in static memory, so only one task may use this code at a time.
# 0x2e7 is LOADED_COMPONENTS of `watch.rs`.

# Stores the general registers but RIP.
.macro SUDBOX_WATCH_STORE place
    mov [rip + \place], r8
    mov [rip + \place + 8], r9
    mov [rip + \place + 16], r10
    mov [rip + \place + 24], r11
    mov [rip + \place + 32], r12
    mov [rip + \place + 40], r13
    mov [rip + \place + 48], r14
    mov [rip + \place + 56], r15
    mov [rip + \place + 64], rdi
    mov [rip + \place + 72], rsi
    mov [rip + \place + 80], rbp
    mov [rip + \place + 88], rbx
    mov [rip + \place + 96], rdx
    mov [rip + \place + 104], rax
    mov [rip + \place + 112], rcx
    mov [rip + \place + 120], rsp
.endm

# Stores flags, segment registers and x87, SSE, AVX, AVX-512 and PKRU state. The stack pointer must be on a
# private stack.
.macro SUDBOX_WATCH_STATE place
    pushfq
    pop qword ptr [rip + \place\()_registers + 136]
    # Clear all flags except ID, which sigreturn does not restore.
    push qword ptr [rip + \place\()_registers + 136]
    and qword ptr [rsp], 0x200202
    popfq
    mov word ptr [rip + \place\()_segments], cs
    mov word ptr [rip + \place\()_segments + 2], ss
    mov word ptr [rip + \place\()_segments + 4], ds
    mov word ptr [rip + \place\()_segments + 6], es
    mov word ptr [rip + \place\()_segments + 8], fs
    mov word ptr [rip + \place\()_segments + 10], gs
    lea rcx, [rip + \place\()_floating]
    mov eax, 0x2e7
    xor edx, edx
    xsave64 [rcx]
.endm

# A C function with the arguments (registers to load, floating point state to load). `stop` is the
# instruction that stops a tracee before the call, or nothing; `enter` is the instruction of the call.
.macro SUDBOX_WATCH_GATE name, stop, enter:vararg
    .balign 64
    .globl \name
    .globl \name\()_call
    .globl \name\()_back
\name:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + sudbox_watch_own_stack], rsp
    mov r8, rsi
    mov eax, 0x2e7
    xor edx, edx
    xrstor64 [r8]
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
    mov rsp, [rdi + 120]
    push qword ptr [rdi + 136]
    mov rdi, [rdi + 64]
    popfq
    \stop
\name\()_call:
    \enter
\name\()_back:
7:
    SUDBOX_WATCH_STORE sudbox_watch_after_registers
    lea rax, [rip + 7b]
    mov [rip + sudbox_watch_after_registers + 128], rax
    mov rsp, [rip + sudbox_watch_own_stack]
    SUDBOX_WATCH_STATE sudbox_watch_after
    lea rcx, [rip + sudbox_watch_clean]
    mov eax, 0x2e7
    xor edx, edx
    xrstor64 [rcx]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
.endm

.section .text.sudbox_watch, "ax", @progbits
.balign 4096
.globl sudbox_watch_start
sudbox_watch_start:

SUDBOX_WATCH_GATE sudbox_watch_native, , syscall
SUDBOX_WATCH_GATE sudbox_watch_compat, , int 0x80
SUDBOX_WATCH_GATE sudbox_watch_native_stop, int3, syscall
SUDBOX_WATCH_GATE sudbox_watch_compat_stop, int3, int 0x80
# Through the 32-bit code that `map_compat_code` maps, which issues the call and jumps back.
SUDBOX_WATCH_GATE sudbox_watch_code32, , jmp fword ptr [rip + sudbox_watch_code32_call_target]
SUDBOX_WATCH_GATE sudbox_watch_code32_stop, , jmp fword ptr [rip + sudbox_watch_code32_stop_target]

.globl sudbox_watch_end
sudbox_watch_end:

.balign 64
.globl sudbox_watch_handler
sudbox_watch_handler:
    SUDBOX_WATCH_STORE sudbox_watch_entered_registers
    lea rax, [rip + sudbox_watch_handler]
    mov [rip + sudbox_watch_entered_registers + 128], rax
    mov rbx, rsp
    mov r12, rdi
    mov r13, rsi
    mov r14, rdx
    lea rsp, [rip + sudbox_watch_handler_stack_end]
    SUDBOX_WATCH_STATE sudbox_watch_entered
    mov rdi, r12
    mov rsi, r13
    mov rdx, r14
    call sudbox_record_signal
    mov rsp, rbx
    ret

# The same for a handler with a 32-bit frame, entered by a jump from 32-bit code. EAX is the signal, EDX the
# address of the siginfo, ECX that of the context. EDX and ECX are 0 without SA_SIGINFO.
.balign 64
.globl sudbox_watch_handler32
sudbox_watch_handler32:
    SUDBOX_WATCH_STORE sudbox_watch_entered_registers
    lea rbx, [rip + sudbox_watch_handler]
    mov [rip + sudbox_watch_entered_registers + 128], rbx
    mov rbx, rsp
    mov r12d, eax
    mov r13d, edx
    mov r14d, ecx
    lea rsp, [rip + sudbox_watch_handler_stack_end]
    SUDBOX_WATCH_STATE sudbox_watch_entered
    mov rdi, r12
    mov rsi, r13
    mov rdx, r14
    call sudbox_record_signal
    # Skip the return address, and without SA_SIGINFO the signal too. Restore R8 to R15, which a 32-bit frame
    # lacks.
    lea rsp, [rbx + 4]
    mov eax, 173                    # rt_sigreturn
    test r13d, r13d
    jnz 8f
    add rsp, 4
    mov eax, 119                    # sigreturn
8:  mov r8, [rip + sudbox_watch_entered_registers]
    mov r9, [rip + sudbox_watch_entered_registers + 8]
    mov r10, [rip + sudbox_watch_entered_registers + 16]
    mov r11, [rip + sudbox_watch_entered_registers + 24]
    mov r12, [rip + sudbox_watch_entered_registers + 32]
    mov r13, [rip + sudbox_watch_entered_registers + 40]
    mov r14, [rip + sudbox_watch_entered_registers + 48]
    mov r15, [rip + sudbox_watch_entered_registers + 56]
    jmp sudbox_compat_restorer

.section .data.sudbox_watch, "aw", @progbits
# Far pointers to 32-bit code.
.globl sudbox_watch_code32_call_target
.globl sudbox_watch_code32_stop_target
.balign 8
sudbox_watch_code32_call_target: .skip 8
sudbox_watch_code32_stop_target: .skip 8
# The initial floating point state: no XSAVE component present, MXCSR at its default.
.balign 64
sudbox_watch_clean:
    .skip 24
    .long 0x1f80
    .skip 4068
.section .bss.sudbox_watch, "aw", @nobits
.balign 64
.globl sudbox_watch_after_floating
.globl sudbox_watch_entered_floating
sudbox_watch_after_floating: .skip 4096
sudbox_watch_entered_floating: .skip 4096
.globl sudbox_watch_after_registers
.globl sudbox_watch_entered_registers
.globl sudbox_watch_after_segments
.globl sudbox_watch_entered_segments
sudbox_watch_after_registers: .skip 144
sudbox_watch_entered_registers: .skip 144
sudbox_watch_after_segments: .skip 16
sudbox_watch_entered_segments: .skip 16
sudbox_watch_own_stack: .skip 16
.balign 64
.skip 65536
sudbox_watch_handler_stack_end:

.text
