// SPDX-License-Identifier: Apache-2.0 OR MIT
// Dispatch must stay on when the tracer detaches.
#include "common.h"
static int f(void)
{
	handle(0);
	traceme();
	arm();
	halt();
	dcall(NR);
	return hits != 1;
}
int main(void)
{
	pid_t p;
	limit();
	p = spawn(f);
	await_halt(p);
	go(PTRACE_DETACH, p, 0);
	return verdict(status(p));
}
