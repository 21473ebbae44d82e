// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that attaches and detaches leaves dispatch on. */
#include "common.h"

static volatile int *fl;
static int f(void)
{
	setup();
	arm();
	fl[0] = 1;
	while (!fl[1])
		;
	go(SYS_getpid);
	return hits != 1;
}
int main(void)
{
	pid_t p;
	int st;

	fl = shared();
	p = fork();
	if (!p)
		_exit(f());
	while (!fl[0])
		usleep(1000);
	if (ptrace(PTRACE_ATTACH, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (!WIFSTOPPED(st) || ptrace(PTRACE_DETACH, p, 0, 0))
		return done(p, 2);
	fl[1] = 1;
	return verdict(next(p));
}
