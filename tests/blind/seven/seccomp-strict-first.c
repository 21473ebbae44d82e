// SPDX-License-Identifier: Apache-2.0 OR MIT
// Under strict seccomp a dispatched call reaches the handler.
#include "common.h"

static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	if (prctl(PR_SET_SECCOMP, 1))
		return 2;
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	syscall(SYS_exit, hits == 1 && info.si_code == SUD_CODE ? 0 : 1);
	return 1;
}

int main(void)
{
	start();
	return run(test);
}
