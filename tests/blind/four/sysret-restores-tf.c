// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A SIGSYS handler that sets the trap flag in its frame gets the trap after one instruction of the dispatching code, not before it. */
#include "common.h"

static volatile unsigned long trap_ip;
static volatile int traps;
extern char tf_ret[];
static void h(int s, siginfo_t *si, void *v)
{
	ucontext_t *uc = v;
	on_sys(s, si, v);
	uc->uc_mcontext.gregs[REG_EFL] |= 0x100;
	uc->uc_mcontext.gregs[REG_R11] = uc->uc_mcontext.gregs[REG_EFL];
	uc->uc_mcontext.gregs[REG_RCX] = uc->uc_mcontext.gregs[REG_RIP];
}
static void on_trap(int s, siginfo_t *si, void *v)
{
	ucontext_t *uc = v;
	if (!traps++)
		trap_ip = uc->uc_mcontext.gregs[REG_RIP];
	uc->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

int main(void)
{
	handle(SIGSYS, h, 0);
	handle(SIGTRAP, on_trap, 0);
	arm();
	asm volatile("movb $1, sel(%%rip)\n\tmov $0x7123, %%eax\n\tsyscall\ntf_ret:\n\tnop\n\tnop\n\tnop\n\tmovb $0, sel(%%rip)"
		     ::: "rax", "rcx", "r11", "memory", "cc");
	SETUP(hits == 1 && traps == 1);
	CHECK(trap_ip == (unsigned long)tf_ret + 1);
	return 0;
}
