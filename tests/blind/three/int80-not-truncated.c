// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The context of a dispatched int $0x80 must show RAX truncated to 32 bits. */
#include "common.h"

int main(void)
{
	long r;

	handler(0);
	if (arm(&sel))
		return 2;
	sel = 1;
	asm volatile("int $0x80" : "=a"(r) : "0"(0x1200000014L) : "memory", "r8", "r9", "r10", "r11");
	sel = 0;
	if (hits != 1)
		return 2;
	return uc.uc_mcontext.gregs[REG_RAX] == 20 && r == 20 ? 0 : 1;
}
