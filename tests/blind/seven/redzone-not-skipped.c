// SPDX-License-Identifier: Apache-2.0 OR MIT
// The data in the red zone of a function with an inlined call survive its dispatch.
#include "common.h"

extern long red_zone(long nr);
asm(".text\nred_zone:\n"
    "	mov $1, %ecx\n"
    "1:	mov %rcx, %rdx\n	neg %rdx\n	mov %rcx, (%rsp, %rdx, 8)\n"
    "	inc %ecx\n	cmp $16, %ecx\n	jbe 1b\n"
    "	mov %rdi, %rax\n"
    "	syscall\n"
    ".globl red_ret\nred_ret:\n"
    "	xor %eax, %eax\n	mov $1, %ecx\n"
    "2:	mov %rcx, %rdx\n	neg %rdx\n	cmp %rcx, (%rsp, %rdx, 8)\n	je 3f\n	inc %eax\n"
    "3:	inc %ecx\n	cmp $16, %ecx\n	jbe 2b\n"
    "	ret\n");
extern char red_ret[];

int main(void)
{
	start();
	handle(SIGSYS, on_sys, 0);
	if (set_sud(SUD_INCL, (unsigned long)red_ret, 1, NULL))
		return 2;
	if (red_zone(FAKE_NR))
		return 1;
	return hits != 1;
}
