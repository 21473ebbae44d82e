// SPDX-License-Identifier: Apache-2.0 OR MIT
// The init of a PID namespace handles a dispatched call; a SIGTERM from its child must not end it after that.
#include "common.h"

static int killer(void)
{
	return syscall(SYS_kill, 1, SIGTERM) ? 2 : 0;
}

static int init(void)
{
	int st;

	if (getpid() != 1)
		return 2;
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	if (hits != 1)
		return 2;
	st = reap(child(killer));
	return !WIFEXITED(st) || WEXITSTATUS(st) ? 2 : 0;
}

static int outer(void)
{
	if (unshare(CLONE_NEWPID))
		return 2;
	return run(init);
}

int main(void)
{
	start();
	return run(outer);
}
