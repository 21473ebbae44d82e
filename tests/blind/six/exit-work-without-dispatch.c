// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer that attaches after an untraced dispatch must see every exit.
#include "common.h"
static volatile int *m;
static int f(void)
{
	handle(0);
	arm();
	dcall(NR);
	if (hits != 1)
		return 1;
	m[0] = 1;
	while (!m[1])
		;
	raw(SYS_getppid, 0, 0);
	raw(SYS_getppid, 0, 0);
	return 0;
}
int main(void)
{
	pid_t p;
	int st;
	limit();
	m = shared();
	p = spawn(f);
	while (!m[0])
		sched_yield();
	if (ptrace(PTRACE_SEIZE, p, 0, PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, p, 0, 0))
		end(p, 2);
	st = status(p);
	if (!WIFSTOPPED(st))
		end(p, 2);
	m[1] = 1;
	return pairs(p);
}
