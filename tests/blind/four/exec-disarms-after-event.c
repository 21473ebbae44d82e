// SPDX-License-Identifier: Apache-2.0 OR MIT
/* At the exec event the new program is not armed, and what the tracer arms there stays. */
#include "common.h"

static void child(void)
{
	arm();
	execl("/proc/self/exe", "x", "again", NULL);
	_exit(2);
}

int main(int argc, char **argv)
{
	struct sud_config c;
	if (argc > 1) {
		handle(SIGSYS, on_sys, 0);
		blocked(MAGIC_NR, 0, 0, 0);
		_exit(hits == 1 ? 0 : 3);
	}
	pid_t p = traced_child(child);
	SETUP(!ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL));
	int st = next_stop(p, PTRACE_CONT, 0);
	SETUP(WIFSTOPPED(st) && st >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8));
	SETUP(!ptrace(GET_SUD, p, (void *)sizeof(c), &c));
	CHECK(c.mode == 0);
	c = (struct sud_config){ 1, (uint64_t)&sel, 0, 0 };
	SETUP(!ptrace(SET_SUD, p, (void *)sizeof(c), &c));
	SETUP(!ptrace(PTRACE_DETACH, p, 0, 0));
	SETUP(waitpid(p, &st, 0) == p && WIFEXITED(st));
	CHECK(WEXITSTATUS(st) == 0);
	return 0;
}
