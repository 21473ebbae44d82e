// SPDX-License-Identifier: Apache-2.0 OR MIT
/* At the SIGSYS stop the tracer finds the number of the dispatched call in orig_rax. */
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
	struct user_regs_struct r;
	pid_t p = tracee(f);
	int st;

	if (ptrace(PTRACE_CONT, p, 0, 0))
		return 2;
	st = next(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		return done(p, 2);
	if (ptrace(PTRACE_GETREGS, p, 0, &r))
		return done(p, 2);
	return done(p, !(r.orig_rax == SYS_getpid && r.rax == SYS_getpid));
}
