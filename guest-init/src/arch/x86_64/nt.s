# SPDX-License-Identifier: Apache-2.0 OR MIT
# A program of 64-bit Windows that issues its system calls itself: a whole PE file, with the same
# offsets as in memory. Its preferred address differs from its real one, so it must be relocated.
# `personalities/nt.rs` has the names of the call numbers.

.section .rodata.sudbox_foreign, "a", @progbits
.balign 4096
.globl sudbox_nt_pe
.globl sudbox_nt_pe_end
.set NT_BASE, 0x180000000

sudbox_nt_pe:
    .ascii "MZ"
    .org sudbox_nt_pe + 0x3c
    .long 0x40
    # File header: x86-64, three sections, program for large addresses.
    .ascii "PE\0\0"
    .short 0x8664, 3
    .long 0, 0, 0
    .short nt_sections - nt_optional, 0x22
nt_optional:
    # PE32+, sizes of code and data, entry, beginning of the code.
    .short 0x20b, 0
    .long 0x1000, 0x2000, 0, 0x1000, 0x1000
    .quad NT_BASE
    # Alignments; versions; sizes of image and headers; native; relocatable, no execution of data.
    .long 0x1000, 0x1000
    .short 10, 0, 0, 0, 10, 0
    .long 0, 0x5000, 0x1000, 0
    .short 1, 0x160
    .quad 0x10000, 0x10000, 0, 0
    .long 0, 16
    # Directories: relocations alone.
    .fill 5, 8, 0
    .long 0x4000, nt_relocations_end - nt_relocations
    .fill 10, 8, 0
nt_sections:
    # Name, size and offset in memory, size and offset in the file, characteristics.
    .ascii ".text\0\0\0"
    .long 0x1000, 0x1000, 0x1000, 0x1000, 0, 0, 0, 0x60000020
    .ascii ".data\0\0\0"
    .long 0x2000, 0x2000, 0x1000, 0x2000, 0, 0, 0, 0xc0000040
    .ascii ".reloc\0\0"
    .long nt_relocations_end - nt_relocations, 0x4000, 0x1000, 0x3000, 0, 0, 0, 0x42000040

    .org sudbox_nt_pe + 0x1000
# Arguments from the fifth on are at rsp + 0x20.
.macro NT number
    mov eax, \number
    call nt_stub
.endm

# Ends the program with the number of the step, if the step failed.
.macro NT_UNLESS condition, step
    mov edx, \step
    j\condition nt_done_\@
    jmp nt_wrong
nt_done_\@:
.endm

nt_entry:
    sub rsp, 0x88
    # 1: the TEB has its own address and that of the PEB, which is the argument and has the console.
    mov rbx, gs:[0x30]
    cmp rbx, [rbx + 0x30]
    NT_UNLESS e, 1
    cmp rcx, gs:[0x60]
    NT_UNLESS e, 1
    mov rsi, [rcx + 0x20]
    mov rsi, [rsi + 0x28]
    # 2: write a text, by a relocated pointer.
    mov rdi, [rip + nt_text_pointer]
    mov r12d, 20
    call nt_write
    test eax, eax
    NT_UNLESS z, 2
    cmp qword ptr [rsp + 0x58], 20
    NT_UNLESS e, 2
    # 3: unknown calls, among them the numbers of fork and exit_group on Linux.
    .irp number, 0x1fff, 57, 231
    NT \number
    cmp eax, 0xc000001c
    NT_UNLESS e, 3
    .endr
    # 4: allocate memory, write it, make it read-only.
    mov qword ptr [rsp + 0x60], 0
    mov qword ptr [rsp + 0x68], 0x2345
    mov rcx, -1
    lea rdx, [rsp + 0x60]
    xor r8d, r8d
    lea r9, [rsp + 0x68]
    mov qword ptr [rsp + 0x20], 0x3000
    mov qword ptr [rsp + 0x28], 4
    NT 0x18
    test eax, eax
    NT_UNLESS z, 4
    cmp qword ptr [rsp + 0x68], 0x3000
    NT_UNLESS e, 4
    mov rbp, [rsp + 0x60]
    mov dword ptr [rbp + 0x2fff - 3], 0x12345678
    mov rcx, -1
    lea rdx, [rsp + 0x60]
    lea r8, [rsp + 0x68]
    mov r9d, 2
    lea rax, [rsp + 0x70]
    mov [rsp + 0x20], rax
    NT 0x50
    test eax, eax
    NT_UNLESS z, 4
    cmp dword ptr [rsp + 0x70], 4
    NT_UNLESS e, 4
    cmp dword ptr [rbp + 0x2fff - 3], 0x12345678
    NT_UNLESS e, 4
    # 5: the time, a delay, and the time again.
    lea rcx, [rsp + 0x70]
    NT 0x5a
    test eax, eax
    NT_UNLESS z, 5
    mov r13, [rsp + 0x70]
    mov qword ptr [rsp + 0x70], -20000
    xor ecx, ecx
    lea rdx, [rsp + 0x70]
    NT 0x34
    test eax, eax
    NT_UNLESS z, 5
    lea rcx, [rsp + 0x70]
    NT 0x5a
    sub r13, [rsp + 0x70]
    neg r13
    cmp r13, 20000
    NT_UNLESS ae, 5
    # 6: an unreadable buffer, and an invalid handle.
    mov rdi, 0x10
    mov r12d, 1
    call nt_write
    cmp eax, 0xc0000005
    NT_UNLESS e, 6
    mov rsi, 0x4711
    call nt_write
    cmp eax, 0xc0000008
    NT_UNLESS e, 6
    # 7: a thread, which writes to the zeroed data of the image.
    lea rcx, [rsp + 0x60]
    mov edx, 0x1fffff
    xor r8d, r8d
    mov r9, -1
    lea rax, [rip + nt_thread]
    mov [rsp + 0x20], rax
    mov qword ptr [rsp + 0x28], 0x1234
    mov qword ptr [rsp + 0x30], 0
    NT 0xc1
    test eax, eax
    NT_UNLESS z, 7
    mov rcx, [rsp + 0x60]
    xor edx, edx
    xor r8d, r8d
    NT 0x04
    test eax, eax
    NT_UNLESS z, 7
    cmp dword ptr [rip + nt_zeroes], 0x1234
    NT_UNLESS e, 7
    # 8: no call has changed a register that calls preserve.
    lea rax, [rip + nt_entry]
    mov r14, rax
    mov r15, rsp
    movq xmm6, rax
    NT 0x1fff
    cmp r14, [rip + nt_entry_pointer]
    NT_UNLESS e, 8
    cmp r15, rsp
    NT_UNLESS e, 8
    movq rax, xmm6
    cmp rax, r14
    NT_UNLESS e, 8
    xor edx, edx
nt_wrong:
    mov rcx, -1
    NT 0x2c
    ud2

# Issues a call as the functions of ntdll.dll do.
nt_stub:
    mov r10, rcx
    syscall
    ret

# Writes r12d bytes at rdi to the handle rsi. The I/O status block is at 0x50 in the caller's frame.
nt_write:
    sub rsp, 0x58
    mov rcx, rsi
    xor edx, edx
    xor r8d, r8d
    xor r9d, r9d
    lea rax, [rsp + 0x58 + 8 + 0x50]
    mov [rsp + 0x20], rax
    mov [rsp + 0x28], rdi
    mov dword ptr [rsp + 0x30], r12d
    mov qword ptr [rsp + 0x38], 0
    mov qword ptr [rsp + 0x40], 0
    NT 0x08
    add rsp, 0x58
    ret

    .org sudbox_nt_pe + 0x1800
nt_thread:
    sub rsp, 0x88
    mov [rip + nt_zeroes], ecx
    mov rsi, gs:[0x60]
    mov rsi, [rsi + 0x20]
    mov rsi, [rsi + 0x28]
    lea rdi, [rip + nt_other]
    mov r12d, 14
    call nt_write
    mov rcx, -2
    mov edx, 3
    NT 0x53
    ud2

    .org sudbox_nt_pe + 0x1c00
nt_faulty:
    sub rsp, 0x28
    mov rax, [rip + nt_text_pointer]
    mov dword ptr [rip + nt_zeroes], 1
    mov byte ptr [0x1230], 1
    ud2

    .org sudbox_nt_pe + 0x1d00
nt_int80:
    # umask(0123) for Linux.
    mov eax, 60
    mov ebx, 0x53
    int 0x80
    mov edx, 9
    jmp nt_wrong

    .org sudbox_nt_pe + 0x2000
nt_text_pointer: .quad NT_BASE + nt_text - sudbox_nt_pe
nt_entry_pointer: .quad NT_BASE + nt_entry - sudbox_nt_pe
    .org sudbox_nt_pe + 0x2100
nt_text: .ascii "hello from Windows\r\n"
    .org sudbox_nt_pe + 0x2140
nt_other: .ascii "and a thread\r\n"
# Zeroed data, which the file does not contain.
.set nt_zeroes, sudbox_nt_pe + 0x3800

    .org sudbox_nt_pe + 0x3000
nt_relocations:
    .long 0x2000, 12
    .short 0xa000, 0xa008
nt_relocations_end:
    .org sudbox_nt_pe + 0x4000
sudbox_nt_pe_end:

.text
