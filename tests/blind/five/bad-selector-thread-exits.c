// SPDX-License-Identifier: Apache-2.0 OR MIT
// A wrong selector value in one thread ends the whole program.
#include "common.h"

static volatile unsigned char mine;

static void *thread(void *arg)
{
	if (sud(SUD_ON, 0, 0, &mine))
		_exit(2);
	mine = 7;
	raw(ODD_NR, 0, 0, 0);
	return 0;
}

static int child(void)
{
	pthread_t t;
	int i;

	if (pthread_create(&t, 0, thread, 0))
		return 2;
	for (i = 0; i < 100; i++)
		usleep(10000);
	return 0;
}

int main(void)
{
	int st;

	start();
	st = in_child(child);
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
