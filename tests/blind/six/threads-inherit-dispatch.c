// SPDX-License-Identifier: Apache-2.0 OR MIT
// A new thread must start without dispatch.
#include "common.h"
static volatile int run, done;
static void *g(void *x)
{
	while (!run)
		;
	sel = 1;
	raw(SYS_getppid, 0, 0);
	sel = 0;
	done = 1;
	return 0;
}
int main(void)
{
	pthread_t t;
	limit();
	handle(0);
	arm();
	if (pthread_create(&t, 0, g, 0))
		return 2;
	run = 1;
	while (!done)
		;
	return hits != 0;
}
