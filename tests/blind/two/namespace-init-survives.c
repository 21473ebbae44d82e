// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The init of a PID namespace without a handler is killed by a dispatched call. */
#include "common.h"

static int f(void)
{
	signal(SIGSYS, SIG_DFL);
	arm();
	go(SYS_getppid);
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
	if (WIFEXITED(st) && WEXITSTATUS(st) == 2)
		return 2;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
