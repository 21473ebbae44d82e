// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Under PTRACE_SYSEMU a dispatched call gives SIGSYS and no syscall stop. */
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
	int st;

	if (ptrace(PTRACE_SYSEMU, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (!WIFSTOPPED(st))
		return done(p, 2);
	return done(p, WSTOPSIG(st) != SIGSYS);
}
