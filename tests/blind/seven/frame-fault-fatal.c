// SPDX-License-Identifier: Apache-2.0 OR MIT
// The stack of a dispatched call is bad; the SIGSEGV handler on its alternate stack gets to see that.
#include "common.h"

static char stack[65536];

static void on_segv(int s, siginfo_t *i, void *u)
{
	_exit(0);
}

static int test(void)
{
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };

	if (sigaltstack(&ss, NULL))
		return 2;
	handle(SIGSYS, on_sys, 0);
	handle(SIGSEGV, on_segv, SA_ONSTACK);
	arm(NULL);
	asm volatile("mov $0x10000, %%rsp\n\tmov $4242, %%eax\n\tjmp sud_ret - 2" ::: "memory");
	return 1;
}

int main(void)
{
	start();
	return run(test);
}
