// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer sees entry and exit of a call that is allowed after another has been dispatched. */
#include "common.h"

static void child(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	blocked(MAGIC_NR, 0, 0, 0);
	plain(SYS_getppid, 0, 0, 0);
	_exit(hits == 1 ? 0 : 2);
}

int main(void)
{
	int n = 0, seen = 0, sig = 0, st;
	struct user_regs_struct r;
	pid_t p = traced_child(child);
	SETUP(!ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	for (;;) {
		st = next_stop(p, PTRACE_SYSCALL, sig);
		sig = 0;
		if (!WIFSTOPPED(st))
			break;
		if (WSTOPSIG(st) == (SIGTRAP | 0x80)) {
			SETUP(!ptrace(PTRACE_GETREGS, p, 0, &r));
			if (r.orig_rax == SYS_getppid)
				n++;
		} else {
			sig = WSTOPSIG(st);
			seen += sig == SIGSYS;
		}
	}
	SETUP(WIFEXITED(st) && WEXITSTATUS(st) == 0 && seen == 1);
	CHECK(n == 2);
	return 0;
}
