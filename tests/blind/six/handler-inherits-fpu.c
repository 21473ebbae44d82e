// SPDX-License-Identifier: Apache-2.0 OR MIT
// The SIGSYS handler must start with the initial MXCSR, whatever the dispatched code had set.
#include "common.h"
static uint32_t in_handler;
static void look(ucontext_t *u)
{
	asm volatile("stmxcsr %0" : "=m"(in_handler));
}
int main(void)
{
	uint32_t odd = 0x7f80, normal = 0x1f80, after;
	limit();
	handle(0);
	hook = look;
	arm();
	asm volatile("ldmxcsr %0" : : "m"(odd));
	dcall(NR);
	asm volatile("stmxcsr %0" : "=m"(after));
	asm volatile("ldmxcsr %0" : : "m"(normal));
	return !(hits == 1 && in_handler == 0x1f80 && after == odd);
}
