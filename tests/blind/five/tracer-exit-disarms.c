// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a tracer armed stays armed when the tracer exits without detaching.
#include "common.h"

static volatile int *sh;

static void tracer(pid_t p)
{
	struct sud_config c = { SUD_ON, (unsigned long)&sel, 0, 0 };
	int st;

	if (ptrace(PTRACE_SEIZE, p, 0, 0) || ptrace(PTRACE_INTERRUPT, p, 0, 0) ||
	    waitpid(p, &st, __WALL) != p || ptrace(SET_SUD, p, sizeof(c), &c))
		_exit(2);
	_exit(0);
}

int main(void)
{
	int st;
	pid_t p, t;

	start();
	sh = shared();
	p = fork();
	if (p < 0)
		return 2;
	if (!p) {
		alarm(4);
		while (!sh[0])
			asm volatile ("pause");
		blocked(ODD_NR);
		_exit(hits != 1);
	}
	t = fork();
	if (t < 0)
		return 2;
	if (!t)
		tracer(p);
	if (waitpid(t, &st, 0) != t || !clean(st))
		return 2;
	sh[0] = 1;
	if (waitpid(p, &st, 0) != p)
		return 2;
	return !clean(st);
}
