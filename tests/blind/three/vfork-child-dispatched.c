// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A vfork() child must not be dispatched. */
#include "common.h"

static char stack[65536] __attribute__((aligned(16)));
static int child(void *x)
{
	blk(39);
	return 0;
}
int main(void)
{
	int st;
	pid_t p;

	handler(0);
	if (arm(&sel))
		return 2;
	p = clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	if (p < 0 || waitpid(p, &st, 0) != p || st)
		return 2;
	return hits ? 1 : 0;
}
