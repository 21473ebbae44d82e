// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The handler of a call dispatched with the direction flag set runs with the flag clear, and the frame keeps it. */
#include "common.h"

volatile unsigned long fl;
void h2(int sig, siginfo_t *si, void *v) { on_sys(sig, si, v); }
void entry(int, siginfo_t *, void *);
asm(".text\nentry:\n\tpushfq\n\tcld\n\tpop %rax\n\tmov %rax, fl(%rip)\n\tjmp h2\n");

int main(void)
{
	handle(SIGSYS, entry, 0);
	arm();
	asm volatile("movb $1, sel(%%rip)\n\tstd\n\tmov $0x7123, %%eax\n\tsyscall\n\tcld\n\tmovb $0, sel(%%rip)"
		     ::: "rax", "rcx", "r11", "memory", "cc");
	SETUP(hits == 1 && (seen_regs[REG_EFL] & 0x400));
	CHECK(!(fl & 0x400));
	return 0;
}
