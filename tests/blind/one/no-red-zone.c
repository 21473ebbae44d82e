// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatch keeps the 128 bytes below the stack pointer.

#include "common.h"

extern char rz_begin[], rz_end[];
long rz_call(void);
asm(".pushsection .text\n"
    ".globl rz_begin, rz_end, rz_call\n"
    "rz_begin:\n"
    "rz_call:\n"
    "  mov $1, %rdx\n"
    "1: neg %rdx\n  mov %rdx, %rcx\n  neg %rdx\n"
    "  movq $0x55, (%rsp,%rcx,8)\n"
    "  inc %rdx\n  cmp $17, %rdx\n  jne 1b\n"
    "  mov $39, %eax\n  syscall\n"
    "  xor %eax, %eax\n"
    "  mov $-16, %rcx\n"
    "2: cmpq $0x55, (%rsp,%rcx,8)\n"
    "  je 3f\n  mov $1, %eax\n"
    "3: inc %rcx\n  jnz 2b\n"
    "  ret\n"
    "rz_end:\n"
    ".popsection\n");

int main(void)
{
	static char sel = BLOCK;
	long bad;

	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, rz_begin, rz_end - rz_begin, &sel));
	bad = rz_call();
	SETUP(hits == 1);
	return bad ? 1 : 0;
}
