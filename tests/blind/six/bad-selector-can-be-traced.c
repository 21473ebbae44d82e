// SPDX-License-Identifier: Apache-2.0 OR MIT
// A traced program with an invalid selector value must die of SIGSYS at once, without a stop.
#include "common.h"
static int f(void)
{
	traceme();
	arm();
	sel = 7;
	raw(SYS_getppid, 0, 0);
	return 1;
}
int main(void)
{
	pid_t p;
	limit();
	p = spawn(f);
	if (died_of(status(p), SIGSYS))
		return 0;
	return end(p, 1);
}
