// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that switches off the dispatch of its tracee must do that, and keep its own. */
#include "common.h"

int main(void)
{
	struct cfg c;
	int st;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		raise(SIGSTOP);
		blk(39);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	memset(&c, 0, sizeof(c));
	if (ptrace(0x4210, p, sizeof(c), &c))
		return 2;
	ptrace(PTRACE_CONT, p, 0, 0);
	if (waitpid(p, &st, 0) != p)
		return 2;
	if (WIFSTOPPED(st)) {
		kill(p, SIGKILL);
		return 1;
	}
	return WEXITSTATUS(st);
}
