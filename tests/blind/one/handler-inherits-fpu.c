// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler starts with the initial MXCSR, whatever the program has set.

#include "common.h"

static volatile unsigned handler_csr;

static void on_csr(int sig)
{
	unsigned csr;

	asm volatile("stmxcsr %0" : "=m"(csr));
	handler_csr = csr;
	hits++;
}

int main(void)
{
	static char sel = BLOCK;
	unsigned csr = 0x7f80, back;

	signal(SIGSYS, on_csr);
	arm(&sel);
	asm volatile("ldmxcsr %0" :: "m"(csr));
	stub_call(SYS_getpid, 0, 0, 0);
	asm volatile("stmxcsr %0" : "=m"(back));
	SETUP(hits == 1 && back == csr);
	return handler_csr == 0x1f80 ? 0 : 1;
}
