// SPDX-License-Identifier: Apache-2.0 OR MIT
// The siginfo of a dispatch does not depend on RLIMIT_SIGPENDING.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	struct rlimit none = { 0, 0 };

	install(0);
	arm(&sel);
	SETUP(!setrlimit(RLIMIT_SIGPENDING, &none));
	stub_call(SYS_getpid, 0, 0, 0);
	SETUP(hits == 1);
	return seen.si_code == 2 && seen.si_syscall == SYS_getpid ? 0 : 1;
}
