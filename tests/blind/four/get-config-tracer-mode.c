// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The mode that the tracer reads is its tracee's, not its own. */
#include "common.h"

static void child(void) { arm(); raise(SIGSTOP); }

int main(void)
{
	struct sud_config c;
	pid_t p = traced_child(child);
	SETUP(!ptrace(GET_SUD, p, (void *)sizeof(c), &c));
	unsigned long before = c.mode;
	int st = next_stop(p, PTRACE_CONT, 0);
	SETUP(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	SETUP(!ptrace(GET_SUD, p, (void *)sizeof(c), &c));
	kill(p, SIGKILL);
	SETUP(c.selector == (uint64_t)&sel);
	CHECK(before == 0 && c.mode == 1);
	return 0;
}
