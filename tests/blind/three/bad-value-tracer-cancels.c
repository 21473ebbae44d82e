// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer must not see, and so not cancel, the SIGSYS of an invalid selector value. */
#include "common.h"

int main(void)
{
	int st;
	pid_t p = fork();

	if (!p) {
		struct rlimit r = { 0, 0 };
		setrlimit(RLIMIT_CORE, &r);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		if (arm(&sel))
			_exit(2);
		sel = 7;
		asm volatile("syscall" : : "a"(39L) : "rcx", "r11", "memory");
		sel = 0;
		_exit(1);
	}
	if (waitpid(p, &st, 0) != p)
		return 2;
	if (WIFSTOPPED(st)) {
		kill(p, SIGKILL);
		return 1;
	}
	return WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS ? 0 : 2;
}
