// SPDX-License-Identifier: Apache-2.0 OR MIT
// The init of a PID namespace that has no handler dies of a dispatched call.
#include "common.h"

static int init(void *arg)
{
	handle(SIGALRM, on_alarm, 0);
	signal(SIGSYS, SIG_DFL);
	arm();
	blocked(ODD_NR);
	return 0;
}

int main(void)
{
	char *stack = page(65536);
	int st;
	pid_t p;

	start();
	p = clone(init, stack + 65536, CLONE_NEWPID | SIGCHLD, 0);
	if (p < 0 || waitpid(p, &st, 0) != p)
		return 2;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
