// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call dispatched while the SIGSYS handler runs kills the task. */
#include "common.h"

static volatile int depth;
static void again(int sig)
{
	sel = 0;
	if (depth++)
		return;
	sel = 1;
	raw(SYS_getpid);
	sel = 0;
}
static int f(void)
{
	struct sigaction sa = { .sa_handler = again };

	if (sigaction(SIGSYS, &sa, NULL))
		return 2;
	arm();
	go(SYS_getpid);
	return 7;
}
int main(void)
{
	int st = child(f);

	if (WIFEXITED(st) && WEXITSTATUS(st) == 2)
		return 2;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
