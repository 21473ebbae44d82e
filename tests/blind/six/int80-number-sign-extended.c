// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched int 0x80 with bit 31 in its number must show the number zero-extended in rax.
#include "common.h"
int main(void)
{
	limit();
	handle(0);
	arm();
	sel = 1;
	asm volatile("int $0x80" : : "a"(0x80000777L), "b"(0L), "c"(0L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
	sel = 0;
	return !(hits == 1 && si.si_syscall == (int)0x80000777 && greg[REG_RAX] == 0x80000777L);
}
