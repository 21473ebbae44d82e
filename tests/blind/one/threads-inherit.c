// SPDX-License-Identifier: Apache-2.0 OR MIT
// A thread that an armed thread creates is not armed.

#include "common.h"

static volatile long got;

static void *thread(void *arg)
{
	got = stub_call(SYS_getpid, 0, 0, 0);
	return NULL;
}

int main(void)
{
	static char sel = BLOCK;
	pthread_t t;

	install(0);
	arm(&sel);
	SETUP(!pthread_create(&t, NULL, thread, NULL));
	SETUP(!pthread_join(t, NULL));
	return hits == 0 && got == syscall(SYS_getpid) ? 0 : 1;
}
