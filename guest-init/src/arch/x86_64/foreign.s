# SPDX-License-Identifier: Apache-2.0 OR MIT
# Foreign programs for the sandbox, copied to the address at which they run.

.section .rodata.sudbox_foreign, "a", @progbits

# The personality `alien`: number in rax, arguments in r12 to r15, results in rbx and rbp, carry set
# if the call failed. The instruction `syscall` overwrites rcx and r11.
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
    movabs rax, \number
    syscall
.endm

.balign 4096
.globl sudbox_alien
.globl sudbox_alien_end
sudbox_alien:
    # 1: say a text.
    lea r12, [rip + alien_hello]
    mov r13d, 21
    ALIEN ALIEN_SAY
    jc alien_wrong_1
    cmp rbx, 21
    jne alien_wrong_1
    # 2: unknown numbers: one that differs from a known one only above bit 31, and Linux's numbers of exit_group, of exit and of getpid.
    .irp number, 0xb11e000000000027, 231, 60, 39, 0xffffffffffffffff
    ALIEN \number
    jnc alien_wrong_2
    movabs r12, \number
    cmp rbx, r12
    jne alien_wrong_2
    .endr
    # 3: a call preserves all other registers.
    movabs rdi, 0x0101010101010101
    movabs rsi, 0x0202020202020202
    movabs rdx, 0x0303030303030303
    movabs r8, 0x0404040404040404
    movabs r9, 0x0505050505050505
    movabs r10, 0x0606060606060606
    mov r12d, 1
    ALIEN ALIEN_NAP
    jc alien_wrong_3
    movabs rcx, 0x0101010101010101
    mov rbx, rcx
    .irp register, rdi, rsi, rdx, r8, r9, r10
    cmp \register, rbx
    jne alien_wrong_3
    add rbx, rcx
    .endr
    cmp r12, 1
    jne alien_wrong_3
    # 4: map memory, write it, say it, make it read-only, write it again: a fault, which is handled.
    mov r12d, 4096
    mov r13d, 3
    ALIEN ALIEN_MAP
    jc alien_wrong_4
    mov rdi, rbx
    movabs rax, 0x0a65726568776f6e  # "nowhere\n"
    mov [rdi], rax
    mov r12, rdi
    mov r13d, 8
    ALIEN ALIEN_SAY
    jc alien_wrong_4
    mov r12, rdi
    mov r13d, 4096
    mov r14d, 1
    ALIEN ALIEN_PROTECT
    jc alien_wrong_4
    lea r12, [rip + alien_faulted]
    ALIEN ALIEN_FAULTS
    jc alien_wrong_4
    jmp alien_fault
    # The addresses in transcripts must be the same on all architectures.
    .org sudbox_alien + 0x800
alien_fault:
    mov byte ptr [rdi], 0
    jmp alien_wrong_5
    .org sudbox_alien + 0x840
alien_faulted:
    # 5: rbx is the address of the faulting instruction, rbp the address that it accessed.
    lea r12, [rip + alien_fault]
    cmp rbx, r12
    jne alien_wrong_5
    cmp rbp, rdi
    jne alien_wrong_5
    # 6: say unmapped memory.
    mov r12d, 16
    mov r13d, 1
    ALIEN ALIEN_SAY
    jnc alien_wrong_6
    # 7: start a thread, which sets a flag in memory.
    mov r12, rdi
    mov r13d, 4096
    mov r14d, 3
    ALIEN ALIEN_PROTECT
    jc alien_wrong_7
    lea r12, [rip + alien_thread]
    mov r13, rdi
    ALIEN ALIEN_SPAWN
    jc alien_wrong_7
    mov r12, rbx
    ALIEN ALIEN_JOIN
    jc alien_wrong_7
    cmp dword ptr [rdi + 64], 7
    jne alien_wrong_7
    # 8: a callback during a call, and callbacks within it.
    lea r12, [rip + alien_nested]
    mov r13d, 2
    ALIEN ALIEN_CALL
    jc alien_wrong_8
    cmp rbx, 7
    jne alien_wrong_8
    cmp dword ptr [rdi + 64], 7
    jne alien_wrong_8
    xor r12d, r12d
    ALIEN ALIEN_STOP
    ud2

    .org sudbox_alien + 0xc00
alien_thread:
    # The thread's argument is in r12.
    mov rdi, r12
    lea r12, [rip + alien_other]
    mov r13d, 13
    ALIEN ALIEN_SAY
    mov dword ptr [rdi + 64], 7
    mov r12d, 5
    ALIEN ALIEN_LEAVE
    ud2

.irp n, 1, 2, 3, 4, 5, 6, 7, 8
alien_wrong_\n:
    mov r12d, \n
    ALIEN ALIEN_STOP
    ud2
.endr

    .org sudbox_alien + 0xd00
alien_nested:
    # The argument is in r12. Callback 0 returns 1; callback n returns twice the result of callback n-1, plus 1.
    test r12, r12
    jz 8f
    lea r13, [r12 - 1]
    lea r12, [rip + alien_nested]
    ALIEN ALIEN_CALL
    jc alien_wrong_8
    lea r12, [rbx + rbx + 1]
    ALIEN ALIEN_DONE
    ud2
8:
    mov r12d, 1
    ALIEN ALIEN_DONE
    ud2

    .org sudbox_alien + 0xf00
alien_hello: .ascii "hello from elsewhere\n"
    .org sudbox_alien + 0xf40
alien_other: .ascii "and a thread\n"
sudbox_alien_end:

# Escapes by the two methods in the kernel's documentation. r12: a function that calls the kernel in the
# allowed range; r13: the selector; r14: 1 to call the function, 2 to set the selector, 0 for neither.
# The call is umask(0123).
.balign 4096
.globl sudbox_escape
.globl sudbox_escape_end
sudbox_escape:
    cmp r14, 1
    je 1f
    cmp r14, 2
    jne 2f
    mov byte ptr [r13], 0
2:
    mov eax, 95                     # umask
    mov edi, 0x53
    syscall
    mov byte ptr [r13], 1
    jmp 3f
1:
    mov edi, 95                     # umask
    mov esi, 0x53
    call r12
3:
    xor r12d, r12d
    ALIEN ALIEN_STOP
    ud2
sudbox_escape_end:

.text
