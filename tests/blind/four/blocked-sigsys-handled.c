// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With SIGSYS blocked a dispatched call ends the process by SIGSYS and the handler does not run. */
#include "common.h"

static void child(void)
{
	sigset_t s;
	handle(SIGSYS, on_sys, 0);
	arm();
	sigemptyset(&s);
	sigaddset(&s, SIGSYS);
	sigprocmask(SIG_BLOCK, &s, 0);
	blocked(MAGIC_NR, 0, 0, 0);
	_exit(hits ? 3 : 4);
}

int main(void)
{
	int st = in_child(child);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
	return 0;
}
