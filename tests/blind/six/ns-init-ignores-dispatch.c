// SPDX-License-Identifier: Apache-2.0 OR MIT
// The init of a PID namespace without a SIGSYS handler must die of a dispatched call.
#include "common.h"
int main(void)
{
	pid_t p;
	limit();
	p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	if (p < 0)
		return 2;
	if (!p) {
		arm();
		dcall(SYS_getppid);
		_exit(1);
	}
	return !died_of(status(p), SIGSYS);
}
