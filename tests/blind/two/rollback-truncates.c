// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The frame of a dispatched call has the whole RAX of the caller. */
#include "common.h"

int main(void)
{
	setup();
	arm();
	go(0x1234500000027);
	if (hits != 1)
		return 2;
	return gr[REG_RAX] != 0x1234500000027;
}
