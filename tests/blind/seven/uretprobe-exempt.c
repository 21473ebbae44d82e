// SPDX-License-Identifier: Apache-2.0 OR MIT
// The 32-bit call 335, whose number is that of uretprobe among the 64-bit ones, must be dispatched as any other; so must the 64-bit one.
#include "common.h"

static int compat(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_int(335, 0, 0, 0, 0, 0);
	return hits != 1 || info.si_code != SUD_CODE || info.si_syscall != 335;
}

static int native(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_call(335, 0, 0, 0, 0, 0);
	return hits != 1 || info.si_code != SUD_CODE || info.si_syscall != 335;
}

int main(void)
{
	start();
	return run(compat) ?: run(native);
}
