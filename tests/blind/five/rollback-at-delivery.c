// SPDX-License-Identifier: Apache-2.0 OR MIT
// At the SIGSYS stop the tracer sees the number in rax already, and a cancelled dispatch returns
// it.
#include "common.h"

static int child(void)
{
	arm();
	return blocked(ODD_NR) != ODD_NR;
}

int main(void)
{
	pid_t p;

	start();
	p = traced(child);
	if (!stopped_by(resume(PTRACE_CONT, p, 0), SIGSYS))
		return 2;
	if (regs_of(p).rax != ODD_NR)
		return 1;
	return !clean(resume(PTRACE_CONT, p, 0));
}
