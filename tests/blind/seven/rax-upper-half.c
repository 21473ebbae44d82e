// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler must find all 64 bits of the RAX with which the call was made.
#include "common.h"

int main(void)
{
	long nr = 0x1234567800000000 | FAKE_NR;

	start();
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	if (sud_call(nr, 0, 0, 0, 0, 0) != nr)
		return 1;
	return hits != 1 || regs[REG_RAX] != nr || info.si_syscall != FAKE_NR;
}
