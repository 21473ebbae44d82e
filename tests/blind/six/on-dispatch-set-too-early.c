// SPDX-License-Identifier: Apache-2.0 OR MIT
// Calls which the selector allows must be reported to a tracer at entry and at exit.
#include "common.h"
static int f(void)
{
	handle(0);
	traceme();
	arm();
	halt();
	raw(SYS_getppid, 0, 0);
	raw(SYS_getppid, 0, 0);
	return 0;
}
int main(void)
{
	pid_t p;
	limit();
	p = spawn(f);
	await_halt(p);
	return pairs(p);
}
