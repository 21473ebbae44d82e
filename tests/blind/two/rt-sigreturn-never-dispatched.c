// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call with the number of rt_sigreturn is dispatched as any other. */
#include "common.h"

static int f(void)
{
	setup();
	arm();
	go(SYS_rt_sigreturn);
	return !(hits == 1 && gi.si_syscall == SYS_rt_sigreturn);
}
int main(void)
{
	return verdict(child(f));
}
