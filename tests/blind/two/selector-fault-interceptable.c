// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector that cannot be read kills without a signal stop for the tracer. */
#include "common.h"

static int f(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 2;
	traceme();
	if (sud(1, 0, 0, p))
		return 2;
	munmap(p, 4096);
	raw(SYS_getpid);
	return 0;
}
int main(void)
{
	pid_t p = tracee(f);
	int st;

	if (ptrace(PTRACE_CONT, p, 0, 0))
		return 2;
	st = next(p);
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV)
		return 0;
	if (WIFSTOPPED(st))
		return done(p, 1);
	return 2;
}
