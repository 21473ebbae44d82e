// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An int $0x80 call of a 64-bit program must be reported with the i386 architecture. */
#include "common.h"

int main(void)
{
	long r;

	handler(0);
	if (arm(&sel))
		return 2;
	sel = 1;
	asm volatile("int $0x80" : "=a"(r) : "0"(20L) : "memory", "r8", "r9", "r10", "r11");
	sel = 0;
	if (hits != 1)
		return 2;
	return (unsigned)si.si_arch == 0x40000003u && si.si_syscall == 20 ? 0 : 1;
}
