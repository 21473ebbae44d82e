// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The handler of a dispatched call starts with the default MXCSR, and the program gets its own back. */
#include "common.h"

static volatile unsigned int in;
static void h(int s, siginfo_t *si, void *v)
{
	unsigned int m;
	asm volatile("stmxcsr %0" : "=m"(m));
	in = m;
	on_sys(s, si, v);
}

int main(void)
{
	unsigned int m = 0x3f80, back;
	handle(SIGSYS, h, 0);
	arm();
	asm volatile("ldmxcsr %0" :: "m"(m));
	blocked(MAGIC_NR, 0, 0, 0);
	asm volatile("stmxcsr %0" : "=m"(back));
	SETUP(hits == 1 && (back & ~0x3f) == 0x3f80);
	CHECK(in == 0x1f80);
	return 0;
}
