// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer must read the call number in orig_rax when it sees the SIGSYS of a dispatched call in a program without a handler.
#include "common.h"
static int f(void)
{
	traceme();
	arm();
	halt();
	dcall(NR);
	return 0;
}
int main(void)
{
	struct user_regs_struct r;
	pid_t p;
	int st;
	limit();
	p = spawn(f);
	await_halt(p);
	go(PTRACE_CONT, p, 0);
	st = status(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		end(p, 1);
	if (ptrace(PTRACE_GETREGS, p, 0, &r))
		end(p, 2);
	end(p, r.orig_rax != NR);
}
