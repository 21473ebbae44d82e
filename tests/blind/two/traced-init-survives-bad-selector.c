// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An invalid selector value kills the init of a PID namespace even when it is traced. */
#include "common.h"

static int f(void)
{
	signal(SIGSYS, SIG_DFL);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		return 2;
	arm();
	sel = 5;
	raw(SYS_getppid);
	sel = 0;
	return 7;
}
int main(void)
{
	pid_t p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	int st;

	if (p < 0)
		return 2;
	if (!p)
		_exit(f());
	st = next(p);
	if (WIFSTOPPED(st))
		return done(p, 1);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 2)
		return 2;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
