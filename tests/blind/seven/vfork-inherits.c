// SPDX-License-Identifier: Apache-2.0 OR MIT
// A child made with CLONE_VFORK starts without dispatch.
#include "common.h"

static int test(void)
{
	long p;
	int st;

	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	p = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
	if (p < 0)
		return 2;
	if (!p) {
		sud_call(SYS_getpid, 0, 0, 0, 0, 0);
		_exit(hits ? 1 : 0);
	}
	st = reap(p);
	return !WIFEXITED(st) || WEXITSTATUS(st);
}

int main(void)
{
	start();
	return run(test);
}
