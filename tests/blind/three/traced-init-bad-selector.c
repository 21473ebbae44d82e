// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An invalid selector value must end also the traced init of a PID namespace. */
#include "common.h"

static char stack[65536] __attribute__((aligned(16)));
static int child(void *x)
{
	struct rlimit r = { 0, 0 };
	setrlimit(RLIMIT_CORE, &r);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	if (arm(&sel))
		return 2;
	sel = 7;
	asm volatile("syscall" : : "a"(39L) : "rcx", "r11", "memory");
	sel = 0;
	return 1;
}
int main(void)
{
	int st, i;
	pid_t p = clone(child, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, NULL);

	if (p < 0)
		return 2;
	for (i = 0; i < 20; i++) {
		if (waitpid(p, &st, 0) != p)
			return 2;
		if (!WIFSTOPPED(st))
			break;
		ptrace(PTRACE_CONT, p, 0, WSTOPSIG(st));
	}
	if (WIFSTOPPED(st))
		return 1;
	return WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS ? 0 : WIFSIGNALED(st) ? 2 : WEXITSTATUS(st);
}
