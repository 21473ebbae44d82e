// SPDX-License-Identifier: Apache-2.0 OR MIT
/* At the tracer's stop for SIGSYS rax holds the number of the dispatched call already. */
#include "common.h"

static void child(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	blocked(MAGIC_NR, 0, 0, 0);
	_exit(hits == 1 && seen_regs[REG_RAX] == MAGIC_NR ? 0 : 2);
}

int main(void)
{
	struct user_regs_struct r;
	pid_t p = traced_child(child);
	int st = next_stop(p, PTRACE_CONT, 0);
	SETUP(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSYS);
	SETUP(!ptrace(PTRACE_GETREGS, p, 0, &r));
	st = next_stop(p, PTRACE_CONT, SIGSYS);
	SETUP(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	CHECK(r.rax == MAGIC_NR);
	return 0;
}
