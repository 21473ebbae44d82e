// SPDX-License-Identifier: Apache-2.0 OR MIT
// At the SIGSYS stop of a dispatched call the tracer reads the number of the call from orig_rax.
#include "common.h"

static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	struct user_regs_struct r;
	pid_t p;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSYS))
		return 1;
	if (ptrace(PTRACE_GETREGS, p, 0, &r))
		return 2;
	return (int)r.orig_rax != FAKE_NR;
}
