// SPDX-License-Identifier: Apache-2.0 OR MIT
// The child of a vfork is not armed.
#include "common.h"

static volatile long r;

static int child(void *arg)
{
	r = blocked(ODD_NR);
	return 0;
}

int main(void)
{
	char *stack = page(65536);
	int st;
	pid_t p;

	start();
	arm();
	p = clone(child, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, 0);
	if (p < 0 || waitpid(p, &st, 0) != p || !clean(st))
		return 2;
	return hits || r != -ENOSYS;
}
