// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched int 0x80 of a 64-bit program is reported as a call of the i386 architecture. */
#include "common.h"

int main(void)
{
	long r;

	setup();
	arm();
	sel = 1;
	asm volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	sel = 0;
	if (hits != 1)
		return 2;
	return gi.si_arch != 0x40000003;
}
