// SPDX-License-Identifier: Apache-2.0 OR MIT
// A traced program with an unreadable selector dies of SIGSEGV without a stop for its tracer.
#include "common.h"

static int test(void)
{
	unsigned char *m = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	arm(m);
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	int st;

	start();
	st = resume(tracee(test), PTRACE_CONT, 0);
	return !WIFSIGNALED(st) || WTERMSIG(st) != SIGSEGV;
}
