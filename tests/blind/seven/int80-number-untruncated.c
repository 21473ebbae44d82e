// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 32-bit call from 64-bit code with the upper half of RAX set: the handler finds the number in 32 bits.
#include "common.h"

int main(void)
{
	start();
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_int(0x1234567800000000 | FAKE_NR, 0, 0, 0, 0, 0);
	return hits != 1 || info.si_syscall != FAKE_NR || regs[REG_RAX] != FAKE_NR;
}
