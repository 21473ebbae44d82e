// SPDX-License-Identifier: Apache-2.0 OR MIT
// A step over an allowed call of an armed program stops right behind the instruction.
#include "common.h"

extern char insn[], after[];
asm ("insn: syscall; after: nop; nop; nop; nop; xor %edi, %edi; mov $60, %eax; syscall");

static int child(void)
{
	arm();
	raise(SIGSTOP);
	return 2;
}

int main(void)
{
	struct user_regs_struct r;
	pid_t p;

	start();
	p = traced(child);
	if (!stopped_by(resume(PTRACE_CONT, p, 0), SIGSTOP))
		return 2;
	r = regs_of(p);
	r.rip = (unsigned long)insn;
	r.rax = ODD_NR;
	r.orig_rax = -1;
	if (ptrace(PTRACE_SETREGS, p, 0, &r))
		return 2;
	if (!stopped_by(resume(PTRACE_SINGLESTEP, p, 0), SIGTRAP))
		return 1;
	r = regs_of(p);
	if (r.rip != (unsigned long)after || (long)r.rax != -ENOSYS)
		return 1;
	return !clean(resume(PTRACE_CONT, p, 0));
}
