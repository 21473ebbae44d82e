// SPDX-License-Identifier: Apache-2.0 OR MIT
// A thread is armed, and another, which is not, gives the process a filter with TSYNC; the thread stays armed, the other unarmed.
#include "common.h"

static volatile int step;

static void *armed(void *arg)
{
	arm(NULL);
	step = 1;
	while (step != 2)
		sched_yield();
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return NULL;
}

static int test(void)
{
	pthread_t t;

	handle(SIGSYS, on_sys, 0);
	if (pthread_create(&t, NULL, armed, NULL))
		return 2;
	while (step != 1)
		sched_yield();
	if (allow_all(SECCOMP_FILTER_FLAG_TSYNC))
		return 2;
	step = 2;
	pthread_join(t, NULL);
	if (hits != 1)
		return 1;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	return hits != 1;
}

int main(void)
{
	start();
	return run(test);
}
