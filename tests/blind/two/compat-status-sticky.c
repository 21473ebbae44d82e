// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 64-bit call dispatched after a 32-bit one is reported as a 64-bit call. */
#include "common.h"

int main(void)
{
	long r;
	int i;

	setup();
	arm();
	for (i = 0; i < 200; i++) {
		asm volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
		go(SYS_getpid);
		if (hits != i + 1)
			return 2;
		if (gi.si_arch != 0xc000003e)
			return 1;
	}
	return 0;
}
