// SPDX-License-Identifier: Apache-2.0 OR MIT
// At the exec event dispatch is off, and what the tracer arms there holds in the new program.
#include "common.h"

static int child(void)
{
	char *argv[] = { "self", "again", 0 };

	arm();
	execve("/proc/self/exe", argv, 0);
	return 2;
}

int main(int argc, char **argv)
{
	struct sud_config c = { SUD_ON, (unsigned long)&sel, 0, 0 }, g;
	pid_t p;
	int st;

	start();
	if (argc > 1) {
		blocked(ODD_NR);
		return hits != 1;
	}
	p = traced(child);
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC))
		return 2;
	st = resume(PTRACE_CONT, p, 0);
	if (st >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8))
		return 2;
	if (ptrace(GET_SUD, p, sizeof(g), &g))
		return 2;
	if (g.mode != SUD_OFF)
		return 1;
	if (ptrace(SET_SUD, p, sizeof(c), &c))
		return 2;
	st = resume(PTRACE_CONT, p, 0);
	if (!stopped_by(st, SIGSYS))
		return 1;
	return !clean(resume(PTRACE_CONT, p, SIGSYS));
}
