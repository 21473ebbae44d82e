// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A direct restart_syscall() must be dispatched like any other call. */
#include "common.h"

int main(void)
{
	handler(0);
	if (arm(&sel))
		return 2;
	blk(39);
	if (hits != 1)
		return 2;
	blk(219);
	return hits == 2 ? 0 : 1;
}
