// SPDX-License-Identifier: Apache-2.0 OR MIT
// The child of a program with a seccomp filter and dispatch starts without dispatch.
#include "common.h"

static int grandchild(void)
{
	return sud_call(SYS_getpid, 0, 0, 0, 0, 0) != getpid() || hits;
}

static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	if (allow_all(0))
		return 2;
	arm(NULL);
	return run(grandchild);
}

int main(void)
{
	start();
	return run(test);
}
