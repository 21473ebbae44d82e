// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Call number 219, restart_syscall, is dispatched like any other. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	blocked(SYS_restart_syscall, 0, 0, 0);
	CHECK(hits == 1 && seen_si.si_syscall == SYS_restart_syscall);
	return 0;
}
