// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler starts with the default control words of x87 and SSE, and the program has its own
// again afterwards.
#include "common.h"

static volatile unsigned int h_mxcsr;
static volatile unsigned short h_cw;

static void on_fpu(int sig, siginfo_t *si, void *uc)
{
	unsigned int m;
	unsigned short c;

	sel = ALLOW;
	hits++;
	asm volatile ("stmxcsr %0; fnstcw %1" : "=m" (m), "=m" (c));
	h_mxcsr = m;
	h_cw = c;
}

int main(void)
{
	unsigned int m = 0x7f80, dm = 0x1f80, back;
	unsigned short c = 0x0f7f, dc = 0x037f, bc;

	start();
	handle(SIGSYS, on_fpu, 0);
	arm();
	asm volatile ("ldmxcsr %0; fldcw %1" :: "m" (m), "m" (c));
	blocked(ODD_NR);
	asm volatile ("stmxcsr %0; fnstcw %1" : "=m" (back), "=m" (bc));
	asm volatile ("ldmxcsr %0; fldcw %1" :: "m" (dm), "m" (dc));
	if (hits != 1)
		return 2;
	return h_mxcsr != dm || h_cw != dc || back != m || bc != c;
}
