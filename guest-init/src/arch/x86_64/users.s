# SPDX-License-Identifier: Apache-2.0 OR MIT
# Machine code of programs that use dispatch. All of it is outside the allowed range.

.section .text.sudbox, "ax", @progbits

# A Windows program: system call stub as in ntdll.dll, number in eax, arguments in rcx, rdx, r8, r9
# and above the return address. The dispatcher continues at the last `ret`, 0xb after the
# instruction; the code before it is for machines without `syscall`.
.balign 64
.globl sudbox_nt_stub
.globl sudbox_nt_stub_call
sudbox_nt_stub:
    mov r10, rcx
    nop
sudbox_nt_stub_call:
    syscall
    ret
    jmp 1f
    ret
1:
    .byte 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b, 0xcc
    ret

# u64 sudbox_nt_program(u32 number, const u64 arguments[6], u64 *changed): issues the call as a Windows
# program does. `changed` gets a bit for each register that the call must preserve but changed.
.balign 64
.globl sudbox_nt_program
sudbox_nt_program:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdx
    sub rsp, 48
    mov eax, edi
    mov rcx, [rsi]
    mov rdx, [rsi + 8]
    mov r8, [rsi + 16]
    mov r9, [rsi + 24]
    mov r10, [rsi + 32]
    mov [rsp + 32], r10
    mov r10, [rsi + 40]
    mov [rsp + 40], r10
    mov rbx, 0x1b1b1b1b1b1b0001
    mov rbp, 0x1b1b1b1b1b1b0002
    mov rsi, 0x1b1b1b1b1b1b0003
    mov rdi, 0x1b1b1b1b1b1b0004
    mov r12, 0x1b1b1b1b1b1b0005
    mov r13, 0x1b1b1b1b1b1b0006
    mov r14, 0x1b1b1b1b1b1b0007
    mov r15, 0x1b1b1b1b1b1b0008
    movq xmm6, rbx
    movq xmm15, r15
    call sudbox_nt_stub
    xor edx, edx
    mov r10, 0x1b1b1b1b1b1b0001
    mov r11d, 1
    .irp register, rbx, rbp, rsi, rdi, r12, r13, r14, r15
    cmp \register, r10
    je 2f
    or rdx, r11
2:
    inc r10
    add r11, r11
    .endr
    mov r10, 0x1b1b1b1b1b1b0001
    movq rbx, xmm6
    cmp rbx, r10
    je 3f
    or rdx, r11
3:
    add r11, r11
    add r10, 7
    movq rbx, xmm15
    cmp rbx, r10
    je 4f
    or rdx, r11
4:
    add rsp, 48
    pop r10
    mov [r10], rdx
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# The dispatcher, to which a handler redirects a call. rcx is the address of the thread's `NtFrame`, below which
# the dispatcher's stack begins; gs is the address of the TEB. As in ntdll.so, the selector is a byte of the TEB,
# and the dispatcher sets fs by arch_prctl(2) from outside the allowed range, with the selector at ALLOW.
.balign 64
.globl sudbox_nt_dispatcher
sudbox_nt_dispatcher:
    mov [rcx], rax
    mov [rcx + 8], r10
    mov [rcx + 16], rdx
    mov [rcx + 24], r8
    mov [rcx + 32], r9
    mov [rcx + 40], rsp
    mov [rcx + 48], rbx
    mov [rcx + 56], rbp
    mov [rcx + 64], rsi
    mov [rcx + 72], rdi
    mov [rcx + 80], r12
    mov [rcx + 88], r13
    mov [rcx + 96], r14
    mov [rcx + 104], r15
    movups [rcx + 144], xmm6
    movups [rcx + 160], xmm15
    mov rbx, rcx
    mov r13, gs:[0x30]
    mov byte ptr [r13 + 0x340], 0   # the selector
    mov rsp, rbx
    mov edi, 0x1002                 # ARCH_SET_FS
    mov rsi, [r13 + 0x350]          # Teb::unix_pointer
    mov eax, 158                    # arch_prctl
    syscall
    mov rdi, rbx
    call [r13 + 0x360]              # Teb::handle_call
    mov r14, rax
    mov edi, 0x1002                 # ARCH_SET_FS
    mov rsi, [r13 + 0x358]          # Teb::program_pointer
    mov eax, 158                    # arch_prctl
    syscall
    mov byte ptr [r13 + 0x340], 1
    mov rax, r14
    mov rcx, rbx
    movups xmm6, [rcx + 144]
    movups xmm15, [rcx + 160]
    mov r15, [rcx + 104]
    mov r14, [rcx + 96]
    mov r13, [rcx + 88]
    mov r12, [rcx + 80]
    mov rdi, [rcx + 72]
    mov rsi, [rcx + 64]
    mov rbp, [rcx + 56]
    mov rbx, [rcx + 48]
    mov rsp, [rcx + 40]
    jmp [rcx + 112]

# A rewriter: the page at address 0 is a sled of nops that ends in a jump here, and `call rax` replaces each
# `syscall`.
.balign 64
.globl sudbox_sled_entry
sudbox_sled_entry:
    mov r11, [rip + sudbox_sled_selector]
    mov byte ptr [r11], 0
    inc qword ptr [rip + sudbox_sled_calls]
    syscall
    mov r11, [rip + sudbox_sled_selector]
    mov byte ptr [r11], 1
    ret

# The code to which the rewriter's handler returns: sets the selector to BLOCK, and continues at the rewritten
# address.
.globl sudbox_sled_resume
sudbox_sled_resume:
    mov r11, [rip + sudbox_sled_selector]
    mov byte ptr [r11], 1
    jmp [rip + sudbox_sled_target]

.section .data.sudbox, "aw", @progbits
.balign 8
.globl sudbox_sled_selector
sudbox_sled_selector: .quad 0
.globl sudbox_sled_target
sudbox_sled_target: .quad 0
.globl sudbox_sled_calls
sudbox_sled_calls: .quad 0

.text
