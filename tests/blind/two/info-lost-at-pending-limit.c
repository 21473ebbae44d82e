// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The handler gets its siginfo even when no signals may be queued. */
#include "common.h"

static int f(void)
{
	struct rlimit l = { 0, 0 };

	setup();
	arm();
	if (setrlimit(RLIMIT_SIGPENDING, &l))
		return 2;
	go(SYS_getpid);
	return !(hits == 1 && gi.si_code == 2 && gi.si_syscall == SYS_getpid);
}
int main(void)
{
	return verdict(child(f));
}
