// SPDX-License-Identifier: Apache-2.0 OR MIT
// A thread which is not the leader arms itself and executes the program again; that starts without dispatch.
#include "common.h"

static char *args[] = { "again", "again", NULL };

static void *thread(void *arg)
{
	/* Only the stub is allowed */
	if (set_sud(SUD_EXCL, (unsigned long)sud_lo, sud_hi - sud_lo, NULL))
		_exit(2);
	sud_call(SYS_execve, (long)"/proc/self/exe", (long)args, (long)environ, 0, 0);
	sud_call(SYS_exit_group, 2, 0, 0, 0, 0);
	return NULL;
}

static int test(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread, NULL))
		return 2;
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return 0;
	start();
	return run(test);
}
