// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call that fails with EFAULT leaves the configuration as it was. */
#include "common.h"

int main(void)
{
	setup();
	arm();
	if (sud(1, 1, 0x7f0000000000, (void *)-4096L) != -1 || errno != EFAULT)
		return 2;
	go(SYS_getpid);
	return hits != 1;
}
