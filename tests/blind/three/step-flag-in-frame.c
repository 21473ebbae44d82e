// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The trap flag of a tracer that single-steps must not be in the context of the handler. */
#include "common.h"

int main(void)
{
	int st, i;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		raise(SIGSTOP);
		blk(39);
		_exit(hits != 1 ? 2 : uc.uc_mcontext.gregs[REG_EFL] & 0x100 ? 1 : 0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		return 2;
	for (i = 0; i < 20000; i++) {
		if (ptrace(PTRACE_SINGLESTEP, p, 0, 0) || waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
			return 2;
		if (WSTOPSIG(st) == SIGSYS)
			break;
		if (WSTOPSIG(st) != SIGTRAP)
			return 2;
	}
	if (i == 20000)
		return 2;
	if (ptrace(PTRACE_SINGLESTEP, p, 0, SIGSYS) || waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	/* Let go; pass over any further trap. */
	for (i = 0; i < 1000; i++) {
		ptrace(PTRACE_CONT, p, 0, 0);
		if (waitpid(p, &st, 0) != p)
			return 2;
		if (!WIFSTOPPED(st))
			break;
	}
	if (WIFSTOPPED(st)) {
		kill(p, SIGKILL);
		return 1;
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}
