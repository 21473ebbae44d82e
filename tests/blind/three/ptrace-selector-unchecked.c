// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer must not be able to set a selector in kernel memory. */
#include "common.h"

int main(void)
{
	struct cfg c;
	int st;
	long r;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	memset(&c, 0, sizeof(c));
	c.mode = 1;
	c.sel = 0xffffffff81000000UL;
	r = ptrace(0x4210, p, sizeof(c), &c);
	st = errno;
	kill(p, SIGKILL);
	return r == -1 && st == EFAULT ? 0 : r == 0 ? 1 : 2;
}
