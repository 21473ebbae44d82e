// SPDX-License-Identifier: Apache-2.0 OR MIT
// The tracer steps into the handler of a dispatched call; the saved flags do not show the step, and the return does not trap.
#include "common.h"

static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return hits != 1 || (regs[REG_EFL] & 0x100);
}

int main(void)
{
	pid_t p;
	int st;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSYS))
		return 2;
	if (!stopped(resume(p, PTRACE_SINGLESTEP, SIGSYS), SIGTRAP))
		return 1;
	st = resume(p, PTRACE_CONT, 0);
	return !WIFEXITED(st) || WEXITSTATUS(st);
}
