// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call that the selector allows must have an entry stop and an exit stop. */
#include "common.h"

int main(void)
{
	struct __ptrace_syscall_info i;
	int st, entry = 0, exits = 0;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		if (arm(&sel))
			_exit(2);
		raise(SIGSTOP);
		syscall(39);
		syscall(39);
		syscall(39);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD);
	for (;;) {
		ptrace(PTRACE_SYSCALL, p, 0, 0);
		if (waitpid(p, &st, 0) != p)
			return 2;
		if (!WIFSTOPPED(st))
			break;
		if (WSTOPSIG(st) != (SIGTRAP | 0x80))
			return 2;
		memset(&i, 0, sizeof(i));
		ptrace(0x420e, p, sizeof(i), &i);
		if (*(unsigned char *)&i == 1)
			entry++;
		else if (*(unsigned char *)&i == 2)
			exits++;
	}
	if (entry < 4)
		return 2;
	return exits >= 3 ? 0 : 1;
}
