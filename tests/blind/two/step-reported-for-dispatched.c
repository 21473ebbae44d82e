// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Stepping over a dispatched call gives the SIGSYS stop and no step report; when SIGSYS is suppressed the tracee runs on. */
#include "common.h"

static int f(void)
{
	setup();
	arm();
	traceme();
	go(SYS_getpid);
	return 0;
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
	if (WSTOPSIG(st) != SIGSYS)
		return done(p, 2);
	if (ptrace(PTRACE_CONT, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (WIFSTOPPED(st))
		return done(p, 1);
	return verdict(st);
}
