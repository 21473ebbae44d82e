// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer which asks through int $0x80 gets a selector above 4 GB in full.
#include "common.h"

static unsigned char *high;
static struct sud_cfg cfg;
static int test(void)
{
	arm(high);
	syscall(SYS_kill, getpid(), SIGSTOP);
	return 0;
}

int main(void)
{
	pid_t p;

	start();
	high = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (high == MAP_FAILED || (unsigned long)high >> 32 == 0)
		return 2;
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSTOP))
		return 2;
	if (sud_int(26, PT_GET_SUD, p, sizeof(cfg), (long)&cfg, 0))
		return 1;
	return cfg.mode != 1 || cfg.selector != (unsigned long)high;
}
