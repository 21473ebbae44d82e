// SPDX-License-Identifier: Apache-2.0 OR MIT
// One thread switches dispatch off: another thread's must stay on.
#include "common.h"
static volatile int ready, run, done;
static char other;
static void *g(void *x)
{
	arm();
	ready = 1;
	while (!run)
		;
	dcall(NR);
	done = 1;
	return 0;
}
int main(void)
{
	pthread_t t;
	limit();
	handle(0);
	if (pthread_create(&t, 0, g, 0))
		return 2;
	while (!ready)
		;
	if (prctl(SUD, 1, 0, 0, &other) || prctl(SUD, 0, 0, 0, 0))
		return 2;
	run = 1;
	while (!done)
		;
	return hits != 1;
}
