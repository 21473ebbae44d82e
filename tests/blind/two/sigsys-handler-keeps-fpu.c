// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The handler of a dispatched call starts with the initial MXCSR and x87 control word. */
#include "common.h"

static unsigned int mx;
static unsigned short cw;
static void h(int sig, siginfo_t *si, void *uc)
{
	asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mx), "=m"(cw));
	sel = 0;
	hits++;
}
int main(void)
{
	struct sigaction sa = { .sa_sigaction = h, .sa_flags = SA_SIGINFO };
	unsigned int m = 0x7f80, m0 = 0x1f80;
	unsigned short c = 0x0f7f, c0 = 0x037f;

	if (sigaction(SIGSYS, &sa, NULL))
		return 2;
	arm();
	asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(m), "m"(c));
	go(SYS_getpid);
	asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(m0), "m"(c0));
	if (hits != 1)
		return 2;
	return !(mx == 0x1f80 && cw == 0x037f);
}
