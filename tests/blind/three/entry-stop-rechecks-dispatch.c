// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A configuration that a tracer sets in an entry stop must not catch the call that has begun. */
#include "common.h"

int main(void)
{
	struct cfg c;
	int st;
	pid_t p = fork();

	if (!p) {
		long r;
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		sel = 0;
		raise(SIGSTOP);
		r = blk(39);
		_exit(hits ? 1 : 0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	for (;;) {
		ptrace(PTRACE_SYSCALL, p, 0, 0);
		if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
			return 2;
		if (ptrace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.orig_rax), 0) == 39)
			break;
	}
	memset(&c, 0, sizeof(c));
	c.mode = 1;
	c.sel = (unsigned long)&sel;
	if (ptrace(0x4210, p, sizeof(c), &c))
		return 2;
	for (;;) {
		ptrace(PTRACE_CONT, p, 0, WSTOPSIG(st) == SIGSYS ? SIGSYS : 0);
		if (waitpid(p, &st, 0) != p)
			return 2;
		if (WIFEXITED(st))
			return WEXITSTATUS(st);
		if (!WIFSTOPPED(st))
			return 2;
	}
}
