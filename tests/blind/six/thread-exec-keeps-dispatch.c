// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program started by a thread with dispatch must run without it.
#include "common.h"
static void *g(void *x)
{
	char *av[] = { "x", "again", 0 }, *ev[] = { 0 };
	/* Not mapped in the new program */
	if (prctl(SUD, 1, 0, 0, shared()))
		_exit(2);
	execve("/proc/self/exe", av, ev);
	_exit(2);
}
static int f(void)
{
	pthread_t t;
	if (pthread_create(&t, 0, g, 0))
		return 2;
	for (;;)
		pause();
}
int main(int argc, char **argv)
{
	if (argc > 1)
		_exit(0);
	limit();
	return verdict(status(spawn(f)));
}
