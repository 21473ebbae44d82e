// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The configuration of a running tracee must not be readable. */
#include "common.h"

int main(void)
{
	struct cfg c;
	long r;
	int e;
	pid_t p = fork();

	if (!p) {
		arm(&sel);
		for (;;)
			usleep(10000);
	}
	usleep(50000);
	if (ptrace(PTRACE_SEIZE, p, 0, 0)) {
		kill(p, SIGKILL);
		return 2;
	}
	errno = 0;
	r = ptrace(0x4211, p, sizeof(c), &c);
	e = errno;
	kill(p, SIGKILL);
	return r == -1 && e == ESRCH ? 0 : r == 0 ? 1 : 2;
}
