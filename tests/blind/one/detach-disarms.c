// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracee is armed after its tracer has detached.

#include "common.h"

/* A traced child that runs f(), stopped at a SIGSTOP of its own. */
static int traced(int (*f)(void))
{
	struct rlimit none = { 0, 0 };
	int pid = fork(), status;

	SETUP(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		SETUP(!ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(f());
	}
	status = status_of(pid);
	SETUP(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	SETUP(!ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	return pid;
}

static void stop_self(void)
{
	syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
}

struct sud_config { uint64_t mode, selector, offset, len; };
#define GET_SUD 0x4211
#define SET_SUD 0x4210

static int child(void)
{
	static char sel = BLOCK;

	install(0);
	arm(&sel);
	stop_self();
	stub_call(SYS_getpid, 0, 0, 0);
	return hits == 1 ? 7 : 3;
}

int main(void)
{
	int pid = traced(child);

	SETUP(!ptrace(PTRACE_DETACH, pid, 0, 0));
	return exited(status_of(pid), 7) ? 0 : 1;
}
