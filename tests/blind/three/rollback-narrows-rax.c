// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The context of the handler must show all 64 bits of RAX as it was at the call. */
#include "common.h"

int main(void)
{
	long r;

	handler(0);
	if (arm(&sel))
		return 2;
	r = blk(0x1234567800000027L);
	if (hits != 1)
		return 2;
	return uc.uc_mcontext.gregs[REG_RAX] == 0x1234567800000027L && r == 0x1234567800000027L ? 0 : 1;
}
