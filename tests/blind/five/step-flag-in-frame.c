// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler of a dispatched call that was single-stepped does not find the trap flag of the
// tracer in its context.
#include "common.h"

extern char insn[];
asm ("insn: syscall; after: nop; nop");

static void on_step(int sig, siginfo_t *si, void *uc)
{
	sel = ALLOW;
	_exit(!!(((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL] & 0x100));
}

static int child(void)
{
	handle(SIGSYS, on_step, 0);
	arm();
	raise(SIGSTOP);
	return 2;
}

int main(void)
{
	struct user_regs_struct r;
	pid_t p;
	int st;

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
	/* the selector, to BLOCK */
	long w = ptrace(PTRACE_PEEKDATA, p, &sel, 0);
	if (ptrace(PTRACE_POKEDATA, p, &sel, (w & ~0xffL) | BLOCK))
		return 2;
	if (!stopped_by(resume(PTRACE_SINGLESTEP, p, 0), SIGSYS))
		return 2;
	/* into the handler */
	if (!stopped_by(resume(PTRACE_SINGLESTEP, p, SIGSYS), SIGTRAP))
		return 2;
	if (regs_of(p).rip != (unsigned long)on_step)
		return 2;
	return !clean(resume(PTRACE_CONT, p, 0));
}
