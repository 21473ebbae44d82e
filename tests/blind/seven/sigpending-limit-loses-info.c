// SPDX-License-Identifier: Apache-2.0 OR MIT
// With no room for pending signals the SIGSYS of a dispatched call still carries its information.
#include "common.h"

int main(void)
{
	struct rlimit none = { 0, 0 };

	start();
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	if (setrlimit(RLIMIT_SIGPENDING, &none))
		return 2;
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return hits != 1 || info.si_code != SUD_CODE || info.si_syscall != FAKE_NR || info.si_call_addr != sud_ret;
}
