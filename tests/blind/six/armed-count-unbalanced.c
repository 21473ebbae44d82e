// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program that switches dispatch off without having it on must not disturb one that uses it.
#include "common.h"
static volatile int *m;
static int f(void)
{
	handle(0);
	arm();
	m[0] = 1;
	while (!m[1])
		sched_yield();
	dcall(NR);
	return hits != 1;
}
int main(void)
{
	pid_t p;
	int i;
	limit();
	m = shared();
	p = spawn(f);
	while (!m[0])
		sched_yield();
	for (i = 0; i < 200000; i++)
		if (prctl(SUD, 0, 0, 0, 0))
			end(p, 2);
	m[1] = 1;
	return verdict(status(p));
}
