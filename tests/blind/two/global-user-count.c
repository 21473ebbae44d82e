// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Turning dispatch off in one task does not affect another. */
#include "common.h"

static int f(void)
{
	sud(0, 0, 0, NULL);
	sud(0, 0, 0, NULL);
	return 0;
}
int main(void)
{
	setup();
	arm();
	if (child(f))
		return 2;
	go(SYS_getpid);
	return hits != 1;
}
