// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The dispatch of a tracee must survive the detaching of its tracer. */
#include "common.h"

int main(void)
{
	int st;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		raise(SIGSTOP);
		blk(39);
		_exit(hits == 1 ? 0 : 1);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	if (ptrace(PTRACE_DETACH, p, 0, 0))
		return 2;
	if (waitpid(p, &st, 0) != p || !WIFEXITED(st))
		return 2;
	return WEXITSTATUS(st);
}
