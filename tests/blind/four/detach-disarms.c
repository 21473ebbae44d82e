// SPDX-License-Identifier: Apache-2.0 OR MIT
/* What a tracer armed stays armed when it detaches. */
#include "common.h"

static void child(void)
{
	handle(SIGSYS, on_sys, 0);
	blocked(MAGIC_NR, 0, 0, 0);
	_exit(hits == 1 ? 0 : 3);
}

int main(void)
{
	struct sud_config c = { 1, (uint64_t)&sel, 0, 0 };
	int st;
	pid_t p = traced_child(child);
	SETUP(!ptrace(SET_SUD, p, (void *)sizeof(c), &c));
	SETUP(!ptrace(PTRACE_DETACH, p, 0, 0));
	SETUP(waitpid(p, &st, 0) == p && WIFEXITED(st) && WEXITSTATUS(st) != 2);
	CHECK(WEXITSTATUS(st) == 0);
	return 0;
}
