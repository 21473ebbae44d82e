// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The rax in the frame of a dispatched int 0x80 holds the number cut to 32 bits. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	asm volatile("mov $0x1234567800007123, %%rax\n\tmovb $1, sel(%%rip)\n\tint $0x80\n\tmovb $0, sel(%%rip)"
		     ::: "rax", "rcx", "r8", "r9", "r10", "r11", "memory");
	SETUP(hits == 1 && seen_si.si_syscall == MAGIC_NR && seen_si.si_arch == 0x40000003);
	CHECK(seen_regs[REG_RAX] == MAGIC_NR);
	return 0;
}
