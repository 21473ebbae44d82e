// SPDX-License-Identifier: Apache-2.0 OR MIT
// The program changes its rounding mode and makes a dispatched call; the handler starts with the default one.
#include "common.h"

static unsigned mxcsr;
static unsigned short cw;

static void on_fpu(int s, siginfo_t *i, void *u)
{
	asm volatile("stmxcsr %0" : "=m"(mxcsr));
	asm volatile("fnstcw %0" : "=m"(cw));
	hits++;
}

int main(void)
{
	unsigned mine = 0x5f80, after;
	unsigned short mycw = 0x27f;

	start();
	handle(SIGSYS, on_fpu, 0);
	arm(NULL);
	asm volatile("ldmxcsr %0" :: "m"(mine));
	asm volatile("fldcw %0" :: "m"(mycw));
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	asm volatile("stmxcsr %0" : "=m"(after));
	return hits != 1 || mxcsr != 0x1f80 || cw != 0x37f || (after & 0xffc0) != 0x5f80;
}
