// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer arms the program at the entry stop of a call; that call still runs, the next one is dispatched.
#include "common.h"

struct sysinfo_op {
	unsigned char op, pad[3];
	unsigned arch;
	unsigned long ip, sp, nr, rest[12];
};

static int op_of(pid_t p)
{
	struct sysinfo_op i;

	memset(&i, 0, sizeof(i));
	if (ptrace(0x420e, p, sizeof(i), &i) < 0)
		_exit(2);
	return i.op;
}

static int test(void)
{
	sel = 1;
	syscall(SYS_kill, getpid(), SIGSTOP);
	sud_call(SYS_getppid, 0, 0, 0, 0, 0);
	sud_call(SYS_getppid, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	struct sud_cfg cfg = { .mode = SUD_INCL, .selector = (unsigned long)&sel,
			       .offset = (unsigned long)sud_lo, .len = sud_hi - sud_lo };
	struct user_regs_struct r;
	pid_t p;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSTOP))
		return 2;
	if (!stopped(resume(p, PTRACE_SYSCALL, 0), SIGTRAP | 0x80) || op_of(p) != 1)
		return 2;
	if (ptrace(PT_SET_SUD, p, sizeof(cfg), &cfg))
		return 2;
	if (!stopped(resume(p, PTRACE_SYSCALL, 0), SIGTRAP | 0x80) || op_of(p) != 2)
		return 1;
	if (ptrace(PTRACE_GETREGS, p, 0, &r))
		return 2;
	if (r.rax != getpid())
		return 1;
	return !stopped(resume(p, PTRACE_SYSCALL, 0), SIGSYS);
}
