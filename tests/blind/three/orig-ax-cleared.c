// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer must find the number of a dispatched call in ORIG_RAX. */
#include "common.h"

int main(void)
{
	int st;
	long r;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		blk(39);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		return 2;
	r = ptrace(PTRACE_PEEKUSER, p, offsetof(struct user, regs.orig_rax), 0);
	kill(p, SIGKILL);
	return r == 39 ? 0 : 1;
}
