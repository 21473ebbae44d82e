// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call must raise SIGSYS even if the tracer emulates system calls.
#include "common.h"
static int f(void)
{
	handle(0);
	traceme();
	arm();
	halt();
	dcall(NR);
	return 0;
}
int main(void)
{
	pid_t p;
	int st;
	limit();
	p = spawn(f);
	await_halt(p);
	go(31 /* PTRACE_SYSEMU */, p, 0);
	st = status(p);
	end(p, !(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSYS));
}
