// SPDX-License-Identifier: Apache-2.0 OR MIT
// A thread with an invalid selector value must take the whole process with it.
#include "common.h"
static void *g(void *x)
{
	arm();
	sel = 7;
	raw(SYS_getppid, 0, 0);
	return 0;
}
static int f(void)
{
	pthread_t t;
	if (pthread_create(&t, 0, g, 0))
		return 2;
	pthread_join(t, 0);
	return 1;
}
int main(void)
{
	limit();
	return !died_of(status(spawn(f)), SIGSYS);
}
