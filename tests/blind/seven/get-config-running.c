// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer which asks for the configuration of a running tracee gets ESRCH.
#include "common.h"

static volatile int *go;

static int test(void)
{
	arm(NULL);
	*go = 1;
	for (;;)
		pause();
}

int main(void)
{
	struct sud_cfg cfg;
	pid_t p;

	start();
	go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (go == MAP_FAILED)
		return 2;
	p = child(test);
	while (!*go)
		sched_yield();
	if (ptrace(PTRACE_SEIZE, p, 0, PTRACE_O_EXITKILL))
		return 2;
	if (ptrace(PT_GET_SUD, p, sizeof(cfg), &cfg) != -1)
		return 1;
	return errno != ESRCH;
}
