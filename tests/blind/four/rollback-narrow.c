// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The rax in the frame has all 64 bits that it had at the dispatched syscall instruction. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	blocked(0x1234567800007123L, 0, 0, 0);
	SETUP(hits == 1 && seen_si.si_syscall == MAGIC_NR);
	CHECK(seen_regs[REG_RAX] == 0x1234567800007123L);
	return 0;
}
