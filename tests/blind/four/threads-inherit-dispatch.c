// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A new thread of an armed thread starts without dispatch. */
#include "common.h"

static volatile long r;
static void *thread(void *a) { r = raw_call(SYS_getppid); return 0; }

int main(void)
{
	pthread_t t;
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, 0));
	SETUP(!pthread_create(&t, 0, thread, 0));
	pthread_join(t, 0);
	CHECK(hits == 0 && r == getppid());
	raw_call(SYS_getppid);
	SETUP(hits == 1);
	return 0;
}
