// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An invalid selector value in a thread kills the whole process. */
#include "common.h"

static void *t(void *a)
{
	static volatile char s;

	if (sud(1, 0, 0, &s))
		_exit(2);
	s = 5;
	raw(SYS_getpid);
	return NULL;
}
static int f(void)
{
	pthread_t th;

	if (pthread_create(&th, NULL, t, NULL))
		return 2;
	usleep(400000);
	return 7;
}
int main(void)
{
	int st = child(f);

	if (WIFEXITED(st) && WEXITSTATUS(st) == 2)
		return 2;
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
