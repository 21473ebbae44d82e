// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call with SIGSYS blocked must end the program, not run the handler. */
#include "common.h"

int main(void)
{
	int st;
	pid_t p = fork();

	if (!p) {
		struct rlimit r = { 0, 0 };
		sigset_t m;
		setrlimit(RLIMIT_CORE, &r);
		handler(0);
		sigemptyset(&m);
		sigaddset(&m, SIGSYS);
		sigprocmask(SIG_BLOCK, &m, NULL);
		if (arm(&sel))
			_exit(2);
		blk(39);
		_exit(1);
	}
	if (waitpid(p, &st, 0) != p)
		return 2;
	return WIFSIGNALED(st) ? 0 : WEXITSTATUS(st);
}
