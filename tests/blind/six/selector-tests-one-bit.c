// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector value of 3 must kill with SIGSYS, without the handler.
#include "common.h"
static int f(void)
{
	handle(0);
	arm();
	sel = 3;
	raw(SYS_getppid, 0, 0);
	sel = 0;
	return 1;
}
int main(void)
{
	limit();
	return !died_of(status(spawn(f)), SIGSYS);
}
