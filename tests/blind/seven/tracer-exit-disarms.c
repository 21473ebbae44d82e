// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program arms itself and is traced by another, which exits; it is still armed.
#include "common.h"

static volatile int *shared;

static int armed(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	shared[0] = 1;
	while (!shared[1])
		sched_yield();
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return hits != 1;
}

static pid_t target;
static int tracer(void)
{
	return ptrace(PTRACE_SEIZE, target, 0, 0) ? 2 : 0;
}

int main(void)
{
	int st;

	start();
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;
	target = child(armed);
	while (!shared[0])
		sched_yield();
	if (run(tracer))
		return 2;
	shared[1] = 1;
	st = reap(target);
	return !WIFEXITED(st) || WEXITSTATUS(st);
}
