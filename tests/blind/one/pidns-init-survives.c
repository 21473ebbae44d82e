// SPDX-License-Identifier: Apache-2.0 OR MIT
// The init of a PID namespace without a handler is killed by a dispatch.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	struct rlimit none = { 0, 0 };
	int pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);

	SETUP(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		arm(&sel);
		stub_call(SYS_getpid, 0, 0, 0);
		_exit(7);
	}
	return killed(status_of(pid), SIGSYS) ? 0 : 1;
}
