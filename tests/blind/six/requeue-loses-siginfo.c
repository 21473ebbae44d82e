// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer blocks SIGSYS and passes it on: delivered later, it must still say what was dispatched.
#include "common.h"
static int f(void)
{
	sigset_t s;
	handle(0);
	traceme();
	arm();
	halt();
	dcall(NR);
	if (hits)
		return 2;
	sigemptyset(&s);
	sigaddset(&s, SIGSYS);
	sigprocmask(SIG_UNBLOCK, &s, 0);
	return !(hits == 1 && si.si_code == 2 && si.si_syscall == NR);
}
int main(void)
{
	uint64_t mask = 1ULL << (SIGSYS - 1);
	pid_t p;
	int st;
	limit();
	p = spawn(f);
	await_halt(p);
	go(PTRACE_CONT, p, 0);
	st = status(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		end(p, 1);
	if (ptrace(SET_SIGMASK, p, 8, &mask))
		end(p, 2);
	for (;;) {
		go(PTRACE_CONT, p, SIGSYS);
		st = status(p);
		if (!WIFSTOPPED(st))
			return verdict(st);
		if (WSTOPSIG(st) != SIGSYS)
			end(p, 1);
	}
}
