// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An exclusive range that is longer than half the address space must be read back as it was set. */
#include "common.h"

int main(void)
{
	struct cfg c;
	int st;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		if (prctl(59, 1L, 0x1000L, 0xf000000000000000UL, 0L))
			_exit(2);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	if (ptrace(0x4211, p, sizeof(c), &c))
		return 2;
	kill(p, SIGKILL);
	return c.mode == 1 && c.off == 0x1000 && c.len == 0xf000000000000000UL ? 0 : 1;
}
