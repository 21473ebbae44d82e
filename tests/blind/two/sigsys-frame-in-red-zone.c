// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The red zone below the stack pointer survives the handler of a dispatched call. */
#include "common.h"

extern long zone(void);
asm(".text\n"
    "zone:\n"
    "movabs $0x5a5aa5a55a5aa5a5, %rdx\n"
    "mov $-16, %rcx\n"
    "1: mov %rdx, (%rsp,%rcx,8)\n"
    "inc %rcx\n"
    "jnz 1b\n"
    "movb $1, sel(%rip)\n"
    "mov $39, %eax\n"
    "syscall\n"
    "xor %eax, %eax\n"
    "mov $-16, %rcx\n"
    "2: cmp %rdx, (%rsp,%rcx,8)\n"
    "je 3f\n"
    "inc %eax\n"
    "3: inc %rcx\n"
    "jnz 2b\n"
    "ret\n");
int main(void)
{
	long bad;

	setup();
	arm();
	bad = zone();
	if (hits != 1)
		return 2;
	return bad != 0;
}
