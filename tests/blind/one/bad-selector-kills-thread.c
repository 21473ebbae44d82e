// SPDX-License-Identifier: Apache-2.0 OR MIT
// A bad selector of one thread kills the process.

#include "common.h"

static void *thread(void *arg)
{
	static char sel = 2;

	arm(&sel);
	stub_call(SYS_getpid, 0, 0, 0);
	return NULL;
}

static int child(void)
{
	pthread_t t;

	SETUP(!pthread_create(&t, NULL, thread, NULL));
	pthread_join(t, NULL);
	return 7;
}

int main(void)
{
	int status = in_child(child);

	SETUP(!exited(status, 2));
	return killed(status, SIGSYS) ? 0 : 1;
}
