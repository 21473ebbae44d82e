// SPDX-License-Identifier: Apache-2.0 OR MIT
// The unused end of the siginfo in the frame is zero, whatever was on the stack before.
#include "common.h"

static volatile int bad = -1;

static void on_tail(int sig, siginfo_t *si, void *uc)
{
	unsigned char *p = (unsigned char *)si;
	int i;

	sel = ALLOW;
	bad = 0;
	for (i = 0x20; i < 128; i++)
		if (p[i])
			bad++;
}

int main(void)
{
	stack_t ss = { .ss_size = 65536 };

	start();
	ss.ss_sp = page(65536);
	memset(ss.ss_sp, 0xaa, 65536);
	if (sigaltstack(&ss, 0))
		return 2;
	handle(SIGSYS, on_tail, SA_ONSTACK);
	arm();
	blocked(ODD_NR);
	if (bad < 0)
		return 2;
	return bad != 0;
}
