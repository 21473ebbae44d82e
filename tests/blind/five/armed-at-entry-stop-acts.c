// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer that arms its tracee at an entry stop does not change the call under way: it is
// executed and has its exit stop; the next one is dispatched.
#include "common.h"

static int child(void)
{
	long r = blocked(ODD_NR);

	if (r != -ENOSYS || hits)
		return 1;
	blocked(ODD_NR);
	return hits != 1;
}

int main(void)
{
	struct sud_config c = { SUD_ON, (unsigned long)&sel, 0, 0 };
	pid_t p;
	int st;

	start();
	p = traced(child);
	do {
		st = resume(PTRACE_SYSCALL, p, 0);
		if (!stopped_by(st, SIGTRAP | 0x80))
			return 2;
	} while (regs_of(p).orig_rax != ODD_NR);
	if (ptrace(SET_SUD, p, sizeof(c), &c))
		return 2;
	st = resume(PTRACE_SYSCALL, p, 0);
	if (!stopped_by(st, SIGTRAP | 0x80) || (long)regs_of(p).rax != -ENOSYS)
		return 1;
	st = resume(PTRACE_CONT, p, 0);
	if (!stopped_by(st, SIGSYS))
		return 1;
	return !clean(resume(PTRACE_CONT, p, SIGSYS));
}
