// SPDX-License-Identifier: Apache-2.0 OR MIT
/* After switching off, the configuration that a tracer reads is all zero. */
#include "common.h"

static void child(void)
{
	SETUP(!sud(SUD_ON, 0x1000, 0x2000, &sel));
	SETUP(!sud(SUD_OFF, 0, 0, 0));
	raise(SIGSTOP);
}

int main(void)
{
	struct sud_config c;
	pid_t p = traced_child(child);
	int st = next_stop(p, PTRACE_CONT, 0);
	SETUP(WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	SETUP(!ptrace(GET_SUD, p, (void *)sizeof(c), &c));
	kill(p, SIGKILL);
	SETUP(c.mode == 0);
	CHECK(c.selector == 0 && c.offset == 0 && c.len == 0);
	return 0;
}
