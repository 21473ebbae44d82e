// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer without privileges arms its own tracee.
#include "common.h"

static int test(void)
{
	return 0;
}

static int tracer(void)
{
	struct sud_cfg cfg = { .mode = 1, .selector = (unsigned long)&sel, .offset = 0, .len = 0 }, got;
	pid_t p;

	if (syscall(SYS_setgid, 65534) || syscall(SYS_setuid, 65534))
		return 2;
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	p = tracee(test);
	if (ptrace(PT_SET_SUD, p, sizeof(cfg), &cfg))
		return 1;
	if (ptrace(PT_GET_SUD, p, sizeof(got), &got))
		return 1;
	return got.mode != 1 || got.selector != cfg.selector;
}

int main(void)
{
	start();
	return run(tracer);
}
