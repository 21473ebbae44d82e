// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector value of 0xff must end the program. */
#include "common.h"

int main(void)
{
	int st;
	pid_t p = fork();

	if (!p) {
		struct rlimit r = { 0, 0 };
		setrlimit(RLIMIT_CORE, &r);
		handler(0);
		if (arm(&sel))
			_exit(2);
		sel = 0xff;
		syscall(39);
		sel = 0;
		_exit(1);
	}
	if (waitpid(p, &st, 0) != p)
		return 2;
	return WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS ? 0 : WIFSIGNALED(st) ? 1 : WEXITSTATUS(st);
}
