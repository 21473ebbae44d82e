// SPDX-License-Identifier: Apache-2.0 OR MIT
// A traced program with a wrong selector value dies of SIGSYS, without a stop at which the tracer
// could cancel it.
#include "common.h"

static int child(void)
{
	arm();
	sel = 7;
	raw(ODD_NR, 0, 0, 0);
	sel = ALLOW;
	return 0;
}

int main(void)
{
	pid_t p;
	int st;

	start();
	p = traced(child);
	st = resume(PTRACE_CONT, p, 0);
	if (WIFSTOPPED(st))
		return 1;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
