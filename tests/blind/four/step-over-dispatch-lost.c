// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that steps over a dispatched call and passes SIGSYS on stops at the handler's first instruction. */
#include "common.h"

static void child(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	pid_t me = getpid();
	plain(SYS_kill, me, SIGSTOP, 0);
	blocked(MAGIC_NR, 0, 0, 0);
	_exit(0);
}

int main(void)
{
	struct user_regs_struct r;
	int i;
	pid_t p = traced_child(child);
	ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_EXITKILL);
	int st = next_stop(p, PTRACE_CONT, 0);
	SETUP(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	for (i = 0; i < 500; i++) {
		st = next_stop(p, PTRACE_SINGLESTEP, 0);
		SETUP(WIFSTOPPED(st));
		if (WSTOPSIG(st) == SIGSYS)
			break;
	}
	SETUP(WSTOPSIG(st) == SIGSYS);
	st = next_stop(p, PTRACE_SINGLESTEP, SIGSYS);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == SIGTRAP);
	SETUP(!ptrace(PTRACE_GETREGS, p, 0, &r));
	CHECK(r.rip == (unsigned long)on_sys);
	kill(p, SIGKILL);
	return 0;
}
