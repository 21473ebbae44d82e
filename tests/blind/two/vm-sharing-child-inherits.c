// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A new thread of a task with dispatch on starts with dispatch off. */
#include "common.h"

static volatile int over;
static void *t(void *a)
{
	sel = 1;
	raw(SYS_getpid);
	sel = 0;
	over = 1;
	return NULL;
}
int main(void)
{
	pthread_t th;

	setup();
	arm();
	if (pthread_create(&th, NULL, t, NULL))
		return 2;
	while (!over)
		;
	return hits != 0;
}
