// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The frame of a dispatched call that a tracer steps over does not show the trap flag. */
#include "common.h"

static int f(void)
{
	setup();
	arm();
	traceme();
	go(SYS_getpid);
	return hits != 1 || (gr[REG_EFL] & 0x100);
}
int main(void)
{
	pid_t p = tracee(f);
	int st, i;

	for (i = 0; i < 10000; i++) {
		if (ptrace(PTRACE_SINGLESTEP, p, 0, 0))
			return done(p, 2);
		st = next(p);
		if (!WIFSTOPPED(st))
			return 2;
		if (WSTOPSIG(st) == SIGSYS)
			break;
	}
	if (WSTOPSIG(st) != SIGSYS || ptrace(PTRACE_SINGLESTEP, p, 0, SIGSYS))
		return done(p, 2);
	st = next(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGTRAP || ptrace(PTRACE_CONT, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (WIFSTOPPED(st))
		return done(p, 1);
	return verdict(st);
}
