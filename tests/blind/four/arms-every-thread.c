// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Arming one thread leaves another, that existed before, without dispatch. */
#include "common.h"

static pthread_barrier_t bar;
static volatile long r;
static void *thread(void *a)
{
	pthread_barrier_wait(&bar);
	pthread_barrier_wait(&bar);
	r = raw_call(SYS_getppid);
	return 0;
}

int main(void)
{
	pthread_t t;
	handle(SIGSYS, on_sys, 0);
	pthread_barrier_init(&bar, 0, 2);
	SETUP(!pthread_create(&t, 0, thread, 0));
	pthread_barrier_wait(&bar);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, 0));
	pthread_barrier_wait(&bar);
	pthread_join(t, 0);
	CHECK(hits == 0 && r == getppid());
	raw_call(SYS_getppid);
	SETUP(hits == 1);
	return 0;
}
