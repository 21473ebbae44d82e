# SPDX-License-Identifier: Apache-2.0 OR MIT
# A 32-bit program, which `compat.rs` packs into an ELF file at a fixed address. It reads requests from
# shared memory, issues each through the gate that the request names, and stores the registers after the
# call.

.set BASE_ADDRESS, 0x08048000
.set HEADERS_LENGTH, 0x80
.set SHARED_ADDRESS, 0x20000000
.set SHARED_LENGTH, 0x8000
.set SHARED_FILE_DESCRIPTOR, 200

# The state of the program at the beginning of the shared memory, `struct ProgramState`.
.set SELECTOR, SHARED_ADDRESS
.set SELECTOR_IN_HANDLER, SHARED_ADDRESS + 4
.set RESUME_ADDRESS, SHARED_ADDRESS + 8
.set SIGSYS_COUNT, SHARED_ADDRESS + 12
.set FAULT_COUNT, SHARED_ADDRESS + 16
.set SYSINFO, SHARED_ADDRESS + 20
.set VDSO, SHARED_ADDRESS + 24
.set IS_READY, SHARED_ADDRESS + 28
.set HAS_REQUESTS, SHARED_ADDRESS + 32
.set DONE, SHARED_ADDRESS + 36
.set REQUEST, SHARED_ADDRESS + 40
.set STACK, SHARED_ADDRESS + 44
.set TARGET, SHARED_ADDRESS + 48
.set SPILL, SHARED_ADDRESS + 52
.set SIGSYS_RECORDS, SHARED_ADDRESS + 0x100
.set MAX_RECORDED, 4
.set HANDLER_STARTS, SHARED_ADDRESS + 0x500
.set MAX_HANDLER_STARTS, 16
.set VDSO_COPY, SHARED_ADDRESS + 0x1000
.set FAST_COPY, SHARED_ADDRESS + 0x2000
.set REQUESTS, SHARED_ADDRESS + 0x3000
.set REQUEST_LENGTH, 80

# In `struct ucontext_ia32` (arch/x86/include/asm/sigframe.h).
.set CONTEXT_IP, 76

.macro SUDBOX_AT name
    .globl \name
\name:
.endm

.section .text.sudbox32, "ax", @progbits
.code32
SUDBOX_AT sudbox32_start
    mov eax, 192                    # mmap2
    mov ebx, SHARED_ADDRESS
    mov ecx, SHARED_LENGTH
    mov edx, 3                      # PROT_READ | PROT_WRITE
    mov esi, 0x11                   # MAP_SHARED | MAP_FIXED
    mov edi, SHARED_FILE_DESCRIPTOR
    xor ebp, ebp
    int 0x80
    cmp eax, SHARED_ADDRESS
    jne 9f
    # Skip the arguments and the environment to reach the auxiliary vector.
    cld
    mov eax, [esp]
    lea esi, [esp + eax * 4 + 8]
1:  lodsd
    test eax, eax
    jnz 1b
2:  lodsd
    mov ecx, eax
    lodsd
    cmp ecx, 32                     # AT_SYSINFO
    jne 3f
    mov dword ptr ds:[SYSINFO], eax
3:  cmp ecx, 33                     # AT_SYSINFO_EHDR
    jne 4f
    mov dword ptr ds:[VDSO], eax
4:  test ecx, ecx
    jnz 2b
    mov esi, dword ptr ds:[VDSO]
    test esi, esi
    jz 5f
    mov edi, VDSO_COPY
    mov ecx, 1024
    rep movsd
5:  mov esi, dword ptr ds:[SYSINFO]
    test esi, esi
    jz 6f
    mov edi, FAST_COPY
    mov ecx, 8
    rep movsd
6:  mov dword ptr ds:[REQUEST], REQUESTS
    mov dword ptr ds:[STACK], esp
    mov dword ptr ds:[IS_READY], 1
7:  cmp dword ptr ds:[HAS_REQUESTS], 0
    jne 8f
    mov eax, 158                    # sched_yield
    int 0x80
    jmp 7b

8:  mov esi, dword ptr ds:[REQUEST]
    mov eax, [esi]
    test eax, eax
    jz 9f
    mov dword ptr ds:[TARGET], eax
    mov al, [esi + 4]
    mov byte ptr ds:[SELECTOR], al
    # The registers of the request.
    mov eax, [esi + 8]
    mov ebx, [esi + 12]
    mov ecx, [esi + 16]
    mov edx, [esi + 20]
    mov edi, [esi + 28]
    mov ebp, [esi + 32]
    mov esi, [esi + 24]
    jmp dword ptr ds:[TARGET]

# The common continuation of all gates, and of the handler of faults: stores the registers after the call, and
# goes on to the next request.
sudbox32_after_call:
    mov dword ptr ds:[SPILL], esi
    mov esi, dword ptr ds:[REQUEST]
    mov [esi + 40], eax
    mov [esi + 44], ebx
    mov [esi + 48], ecx
    mov [esi + 52], edx
    mov eax, dword ptr ds:[SPILL]
    mov [esi + 56], eax
    mov [esi + 60], edi
    mov [esi + 64], ebp
    mov eax, esp
    sub eax, dword ptr ds:[STACK]
    mov [esi + 68], eax
    mov esp, dword ptr ds:[STACK]
    cld
    add esi, REQUEST_LENGTH
    mov dword ptr ds:[REQUEST], esi
    inc dword ptr ds:[DONE]
    jmp 8b

9:  mov eax, 252                    # exit_group
    mov ebx, dword ptr ds:[DONE]
    int 0x80
    hlt

# The handler of SIGSYS with SA_SIGINFO. Its return restores the registers, all of which it or its last part has
# changed.
SUDBOX_AT sudbox32_sigsys_handler
    cld
    mov ebx, ecx
    mov eax, dword ptr ds:[SIGSYS_COUNT]
    cmp eax, MAX_RECORDED
    jae 1f
    shl eax, 8
    lea edi, [eax + SIGSYS_RECORDS]
    mov esi, edx
    mov ecx, 32
    rep movsd
    mov esi, ebx
    mov ecx, 32
    rep movsd
1:  mov eax, dword ptr ds:[RESUME_ADDRESS]
    test eax, eax
    jz 3f
    mov [ebx + CONTEXT_IP], eax
# The handler of SIGSYS without SA_SIGINFO.
SUDBOX_AT sudbox32_plain_sigsys_handler
3:  inc dword ptr ds:[SIGSYS_COUNT]
    mov eax, dword ptr ds:[SELECTOR_IN_HANDLER]
    test ah, ah
    jnz 2f
    mov byte ptr ds:[SELECTOR], al
2:  mov ebx, 0x11111111
    mov ecx, ebx
    mov edx, ebx
    mov esi, ebx
    mov edi, ebx
    mov ebp, ebx
    ret

# A handler with or without SA_SIGINFO that records with which segments, registers, on which stack and with which
# return address it starts. It uses no segment but those of its code and its stack.
SUDBOX_AT sudbox32_start_handler
    mov ebx, dword ptr ss:[SIGSYS_COUNT]
    cmp ebx, MAX_HANDLER_STARTS
    jae 1f
    shl ebx, 6
    add ebx, HANDLER_STARTS
    mov dword ptr ss:[ebx + 24], eax
    mov dword ptr ss:[ebx + 28], edx
    mov dword ptr ss:[ebx + 32], ecx
    mov ecx, ds
    mov dword ptr ss:[ebx], ecx
    mov ecx, es
    mov dword ptr ss:[ebx + 4], ecx
    mov ecx, ss
    mov dword ptr ss:[ebx + 8], ecx
    mov ecx, cs
    mov dword ptr ss:[ebx + 12], ecx
    mov dword ptr ss:[ebx + 16], esp
    mov ecx, dword ptr [esp]
    mov dword ptr ss:[ebx + 20], ecx
1:  inc dword ptr ss:[SIGSYS_COUNT]
    ret

# The handler of faults, on a signal stack: passes EAX and EIP of the fault as the registers after the call.
SUDBOX_AT sudbox32_fault_handler
    inc dword ptr ds:[FAULT_COUNT]
    mov eax, [ecx + 64]             # AX in `struct ucontext_ia32`
    mov ebx, [ecx + CONTEXT_IP]
    mov esp, dword ptr ds:[STACK]
    jmp sudbox32_after_call

SUDBOX_AT sudbox32_inside_gate
    int 0x80
    jmp sudbox32_after_call

# Stores ECX to the address in EBX.
SUDBOX_AT sudbox32_code_without_call
    mov [ebx], ecx
    jmp sudbox32_after_call

SUDBOX_AT sudbox32_restorer
    mov eax, 173                    # rt_sigreturn
    int 0x80
    hlt
# The restorer of handlers without SA_SIGINFO.
SUDBOX_AT sudbox32_plain_restorer
    pop eax
    mov eax, 119                    # sigreturn
    int 0x80
    hlt
SUDBOX_AT sudbox32_inside_end

.balign 64
SUDBOX_AT sudbox32_gate
    int 0x80
SUDBOX_AT sudbox32_gate_after
    jmp sudbox32_after_call

# Through __kernel_vsyscall.
.balign 64
SUDBOX_AT sudbox32_fast_gate
    call dword ptr ds:[SYSINFO]
SUDBOX_AT sudbox32_fast_gate_after
    jmp sudbox32_after_call

# Jumps to the address in EBP, which continues at ESI.
.balign 64
SUDBOX_AT sudbox32_jump_gate
    .byte 0xbe                      # mov esi, sudbox32_after_call
    .long sudbox32_after_call - sudbox32_start + BASE_ADDRESS + HEADERS_LENGTH
    jmp ebp

# The instructions of __kernel_vsyscall, with EBP as the stack pointer.
.balign 64
SUDBOX_AT sudbox32_sysenter_gate
    sysenter
    hlt
.balign 64
SUDBOX_AT sudbox32_syscall_gate
    mov esp, ebp
    syscall
    hlt

# Stores DS, ES, SS and CS in EAX, EBX, ECX and EDX, and loads DS and ES with __USER_DS, which it leaves in EBP.
.macro SUDBOX_STORE_SEGMENTS
    mov eax, ds
    mov ebx, es
    mov ecx, ss
    mov edx, cs
    mov ebp, 0x2b                   # __USER_DS
    mov ds, ebp
    mov es, ebp
.endm

# Makes a call with DS, ES and SS loaded from ESI, EDI and EBP, and stores DS, ES, SS and CS after it in EAX, EBX,
# ECX and EDX.
.balign 64
SUDBOX_AT sudbox32_segments_gate
    mov ds, esi
    mov es, edi
    mov ss, ebp
    int 0x80
    SUDBOX_STORE_SEGMENTS
    mov ss, ebp
    jmp sudbox32_after_call

# The same with a 64-bit call of 64-bit code, which does not load SS.
.balign 64
SUDBOX_AT sudbox32_long_segments_gate
    mov ds, esi
    mov es, edi
    .byte 0xea                      # jmp 0x33:1f
    .long 1f - sudbox32_start + BASE_ADDRESS + HEADERS_LENGTH
    .word 0x33                      # __USER_CS
.code64
1:  syscall
    SUDBOX_STORE_SEGMENTS
    .byte 0xff, 0x2d                # jmp far [rip + 3f]
    .long 3f - . - 4
.code32

# Jumps to 64-bit code at EBP, which continues at RSI, and returns to 32-bit code.
.balign 64
SUDBOX_AT sudbox32_long_gate
    .byte 0xbe                      # mov esi, 1f
    .long 1f - sudbox32_start + BASE_ADDRESS + HEADERS_LENGTH
    .byte 0xea                      # jmp 0x33:2f
    .long 2f - sudbox32_start + BASE_ADDRESS + HEADERS_LENGTH
    .word 0x33                      # __USER_CS
.code64
2:  mov ebp, ebp
    jmp rbp
# A far jump, since retfq faults in QEMU 7.2, which reads the stack with kernel privilege.
1:  .byte 0xff, 0x2d                # jmp far [rip + 3f]
    .long 3f - . - 4
3:  .long sudbox32_after_call - sudbox32_start + BASE_ADDRESS + HEADERS_LENGTH
    .word 0x23                      # __USER32_CS
SUDBOX_AT sudbox32_end
.code64
.text
