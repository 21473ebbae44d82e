// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatch carries its siginfo although the limit of queued signals is used up. */
#include "common.h"

int main(void)
{
	struct rlimit rl = { 0, 0 };
	handle(SIGSYS, on_sys, 0);
	arm();
	SETUP(!setrlimit(RLIMIT_SIGPENDING, &rl));
	blocked(MAGIC_NR, 0, 0, 0);
	SETUP(hits == 1);
	CHECK(seen_si.si_code == 2 && seen_si.si_syscall == MAGIC_NR && seen_si.si_call_addr);
	return 0;
}
