// SPDX-License-Identifier: Apache-2.0 OR MIT
// A fork must leave the parent's dispatch on and switch the child's off.
#include "common.h"
static int f(void)
{
	dcall(SYS_getppid);
	return hits != 0;
}
int main(void)
{
	int st;
	limit();
	handle(0);
	arm();
	st = status(spawn(f));
	dcall(NR);
	return hits != 1 || verdict(st);
}
