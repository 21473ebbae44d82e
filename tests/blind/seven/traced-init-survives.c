// SPDX-License-Identifier: Apache-2.0 OR MIT
// A traced init of a PID namespace with a bad selector dies of SIGSYS.
#include "common.h"

static int test(void)
{
	arm(&sel);
	sel = 2;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	sel = 0;
	return 0;
}

static int tracer(void)
{
	int st;

	if (unshare(CLONE_NEWPID))
		return 2;
	st = resume(tracee(test), PTRACE_CONT, 0);
	return !WIFSIGNALED(st) || WTERMSIG(st) != SIGSYS;
}

int main(void)
{
	start();
	return run(tracer);
}
