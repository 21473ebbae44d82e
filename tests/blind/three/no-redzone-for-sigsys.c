// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call must leave the red zone of its caller alone. */
#include "common.h"

long leaf(volatile unsigned char *s);
asm(".globl leaf\nleaf:\n"
    "mov $0x5a5a5a5a5a5a5a5a, %rax\n"
    "mov $-16, %rcx\n"
    "1: mov %rax, (%rsp,%rcx,8)\n inc %rcx\n jnz 1b\n"
    "movb $1, (%rdi)\n mov $39, %eax\n syscall\n movb $0, (%rdi)\n"
    "mov $0x5a5a5a5a5a5a5a5a, %rdx\n"
    "xor %eax, %eax\n"
    "mov $-16, %rcx\n"
    "2: cmp %rdx, (%rsp,%rcx,8)\n je 3f\n inc %rax\n 3: inc %rcx\n jnz 2b\n"
    "ret\n");
int main(void)
{
	long r;

	handler(0);
	if (arm(&sel))
		return 2;
	r = leaf(&sel);
	if (hits != 1)
		return 2;
	return r ? 1 : 0;
}
