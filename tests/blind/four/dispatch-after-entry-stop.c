// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call whose entry the tracer has seen runs and exits although the tracer arms the tracee at that stop. */
#include "common.h"

static void child(void)
{
	handle(SIGSYS, on_sys, 0);
	sel = 1;
	plain(SYS_getppid, 0, 0, 0);
	sel = 0;
}

int main(void)
{
	struct sud_config c = { 1, (uint64_t)&sel, 0, 0 };
	struct user_regs_struct r;
	int i, st;
	pid_t p = traced_child(child);
	SETUP(!ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	for (i = 0; i < 100; i++) {
		st = next_stop(p, PTRACE_SYSCALL, 0);
		SETUP(WIFSTOPPED(st) && WSTOPSIG(st) == (SIGTRAP | 0x80));
		SETUP(!ptrace(PTRACE_GETREGS, p, 0, &r));
		if (r.orig_rax == SYS_getppid)
			break;
	}
	SETUP(i < 100 && !ptrace(SET_SUD, p, (void *)sizeof(c), &c));
	st = next_stop(p, PTRACE_SYSCALL, 0);
	CHECK(WIFSTOPPED(st) && WSTOPSIG(st) == (SIGTRAP | 0x80));
	SETUP(!ptrace(PTRACE_GETREGS, p, 0, &r));
	CHECK(r.orig_rax == SYS_getppid && r.rax == getpid());
	kill(p, SIGKILL);
	return 0;
}
