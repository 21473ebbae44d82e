// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer single-steps a dispatched call and on into the handler: the saved flags must not have the trap flag.
#include "common.h"
static int f(void)
{
	handle(0);
	traceme();
	arm();
	halt();
	dcall(NR);
	return !(hits == 1 && !(greg[REG_EFL] & 0x100));
}
int main(void)
{
	pid_t p;
	int st, i;
	limit();
	p = spawn(f);
	await_halt(p);
	for (i = 0; i < 20000; i++) {
		go(PTRACE_SINGLESTEP, p, 0);
		st = status(p);
		if (!WIFSTOPPED(st))
			return 1;
		if (WSTOPSIG(st) == SIGSYS)
			break;
	}
	go(PTRACE_SINGLESTEP, p, SIGSYS);
	st = status(p);
	if (!WIFSTOPPED(st))
		return 2;
	go(PTRACE_CONT, p, 0);
	st = status(p);
	if (WIFSTOPPED(st))
		end(p, 1);
	return verdict(st);
}
