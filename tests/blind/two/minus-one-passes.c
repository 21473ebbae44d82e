// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call with the number -1 is dispatched as any other. */
#include "common.h"

int main(void)
{
	setup();
	arm();
	go(-1);
	return !(hits == 1 && gi.si_syscall == -1);
}
