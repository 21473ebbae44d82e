// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A program that is executed by a thread other than the leader starts with dispatch off. */
#include "common.h"

static void *t(void *a)
{
	char *av[] = { "again", "1", NULL };
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	*p = 0;
	if (sud(1, 0, 0, p))
		_exit(2);
	execve("/proc/self/exe", av, av + 2);
	_exit(2);
}
static int f(void)
{
	pthread_t th;

	if (pthread_create(&th, NULL, t, NULL))
		return 2;
	pause();
	return 2;
}
int main(int argc, char **argv)
{
	if (argc > 1)
		return 0;
	return verdict(child(f));
}
