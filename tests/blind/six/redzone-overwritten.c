// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a leaf function keeps below its stack pointer must survive the dispatch of its call.
#include "common.h"
asm(".text\nrz: movabs $0x1122334455667788, %rdx\n mov $-128, %rcx\n"
    "1: mov %rdx, (%rsp,%rcx)\n add $8, %rcx\n jnz 1b\n"
    "movb $1, sel\n mov $0x777, %eax\n syscall\n movb $0, sel\n"
    "mov $-128, %rcx\n xor %eax, %eax\n"
    "1: cmp %rdx, (%rsp,%rcx)\n je 2f\n mov $1, %eax\n"
    "2: add $8, %rcx\n jnz 1b\n ret\n");
extern int rz(void);
int main(void)
{
	int r;
	limit();
	handle(0);
	arm();
	r = rz();
	return hits != 1 ? 1 : r;
}
