// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call without a handler must end also the init of a PID namespace. */
#include "common.h"

static char stack[65536] __attribute__((aligned(16)));
static int child(void *x)
{
	struct rlimit r = { 0, 0 };
	setrlimit(RLIMIT_CORE, &r);
	if (arm(&sel))
		return 2;
	blk(39);
	return 1;
}
int main(void)
{
	int st;
	pid_t p = clone(child, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, NULL);

	if (p < 0 || waitpid(p, &st, 0) != p)
		return 2;
	return WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS ? 0 : WIFSIGNALED(st) ? 2 : WEXITSTATUS(st);
}
