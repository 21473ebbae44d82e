// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler of a dispatched int 0x80 sees the number zero-extended in rax, even with the top bit
// set.
#include "common.h"

int main(void)
{
	start();
	arm();
	sel = BLOCK;
	int80(0x80000123L, 0, 0, 0, 0);
	sel = ALLOW;
	if (hits != 1 || last.si_arch != 0x40000003 || last.si_syscall != (int)0x80000123)
		return 1;
	return lastregs[REG_RAX] != 0x80000123L;
}
