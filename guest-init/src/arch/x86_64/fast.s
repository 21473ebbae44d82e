# SPDX-License-Identifier: Apache-2.0 OR MIT
# Jumps to 32-bit code at the far pointer in RDI, with ESI in EAX, EDX in EBX, and ECX as the stack
# pointer. A signal handler continues at sudbox_fast_back, with the stack pointer from
# sudbox_fast_stack. Returns RAX at that point.
.section .text.sudbox, "ax", @progbits
.balign 64
.globl sudbox_fast
.globl sudbox_fast_back
sudbox_fast:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + sudbox_fast_stack], rsp
    mov eax, esi
    mov ebx, edx
    mov ebp, ecx
    mov esp, ecx
    .byte 0xff, 0x2f                # jmp far [rdi]
sudbox_fast_back:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.section .data.sudbox, "aw", @progbits
.balign 8
.globl sudbox_fast_stack
sudbox_fast_stack: .quad 0
.text
