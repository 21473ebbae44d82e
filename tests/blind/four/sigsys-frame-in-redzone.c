// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The 128 bytes below the stack pointer of a dispatched call survive the handler. */
#include "common.h"

unsigned long after[16];

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	asm volatile("lea after(%%rip), %%rdi\n\t"
		     "sub $512, %%rsp\n\t"
		     "mov $0x1122334455667788, %%rdx\n\t"
		     "mov $-128, %%rsi\n"
		     "1:\tmov %%rdx, (%%rsp,%%rsi)\n\tadd $8, %%rsi\n\tjnz 1b\n\t"
		     "movb $1, sel(%%rip)\n\tmov $0x7123, %%eax\n\tsyscall\n\tmovb $0, sel(%%rip)\n\t"
		     "mov $-128, %%rsi\n"
		     "2:\tmov (%%rsp,%%rsi), %%rdx\n\tmov %%rdx, (%%rdi)\n\tadd $8, %%rdi\n\tadd $8, %%rsi\n\tjnz 2b\n\t"
		     "add $512, %%rsp"
		     ::: "rax", "rcx", "rdx", "rsi", "rdi", "r11", "memory", "cc");
	SETUP(hits == 1);
	for (int i = 0; i < 16; i++)
		CHECK(after[i] == 0x1122334455667788UL);
	return 0;
}
