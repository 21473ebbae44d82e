// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The handler of a dispatched call must start with the default MXCSR. */
#include "common.h"

static volatile unsigned got;
static void h2(int s, siginfo_t *i, void *u)
{
	unsigned m;

	asm volatile("stmxcsr %0" : "=m"(m));
	sel = 0;
	hits++;
	got = m;
}
int main(void)
{
	struct sigaction sa;
	unsigned m = 0x7f80, back;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = h2;
	sa.sa_flags = SA_SIGINFO;
	sigaction(SIGSYS, &sa, NULL);
	if (arm(&sel))
		return 2;
	asm volatile("ldmxcsr %0" : : "m"(m));
	blk(39);
	asm volatile("stmxcsr %0" : "=m"(back));
	if (hits != 1 || (back & 0xffc0) != 0x7f80)
		return 2;
	return got == 0x1f80 ? 0 : 1;
}
