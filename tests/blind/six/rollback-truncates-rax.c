// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler must see all 64 bits of rax as they were at the call.
#include "common.h"
int main(void)
{
	long r;
	limit();
	handle(0);
	arm();
	r = dcall(0x1234567800000777L);
	return !(hits == 1 && si.si_syscall == NR && greg[REG_RAX] == 0x1234567800000777L && r == 0x1234567800000777L);
}
