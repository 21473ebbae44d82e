// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 32-bit tracer (here by int 0x80) that reads the siginfo of a dispatched call and writes it
// back leaves it as it was.
#include "common.h"

static unsigned char buf[128] __attribute__((aligned(16)));

static int child(void)
{
	arm();
	blocked(ODD_NR);
	return hits != 1 || last.si_arch != 0xc000003e || last.si_syscall != ODD_NR ||
	       last.si_call_addr != (void *)lastregs[REG_RIP] || last.si_code != 2;
}

int main(void)
{
	pid_t p;

	if ((unsigned long)buf >> 32)
		return 2;
	start();
	p = traced(child);
	if (!stopped_by(resume(PTRACE_CONT, p, 0), SIGSYS))
		return 2;
	if (int80(26, PTRACE_GETSIGINFO, p, 0, (long)buf) ||
	    int80(26, PTRACE_SETSIGINFO, p, 0, (long)buf))
		return 2;
	return !clean(resume(PTRACE_CONT, p, SIGSYS));
}
