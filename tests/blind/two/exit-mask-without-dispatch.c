// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that attaches after a dispatched call sees entry and exit of the next call. */
#include "common.h"

static volatile int *fl;
static int f(void)
{
	setup();
	arm();
	go(SYS_getpid);
	fl[0] = 1;
	while (!fl[1])
		;
	raw(SYS_getuid);
	raw(SYS_getgid);
	return 0;
}
int main(void)
{
	struct user_regs_struct r;
	pid_t p;
	int st, i, n = 0;

	fl = shared();
	p = fork();
	if (!p)
		_exit(f());
	while (!fl[0])
		usleep(1000);
	if (ptrace(PTRACE_ATTACH, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (!WIFSTOPPED(st) || ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD))
		return done(p, 2);
	fl[1] = 1;
	for (i = 0; i < 20; i++) {
		if (ptrace(PTRACE_SYSCALL, p, 0, 0))
			return done(p, 2);
		st = next(p);
		if (WIFEXITED(st))
			break;
		if (!WIFSTOPPED(st) || WSTOPSIG(st) != (SIGTRAP | 0x80))
			continue;
		if (ptrace(PTRACE_GETREGS, p, 0, &r))
			return done(p, 2);
		if (r.orig_rax == SYS_getuid)
			n++;
	}
	return done(p, n != 2);
}
