// SPDX-License-Identifier: Apache-2.0 OR MIT
// Under PTRACE_SYSEMU a dispatched call makes a SIGSYS stop, not one for emulation.
#include "common.h"

static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	syscall(SYS_kill, getpid(), SIGSTOP);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	pid_t p;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSTOP))
		return 2;
	return !stopped(resume(p, 31 /* PTRACE_SYSEMU */, 0), SIGSYS);
}
