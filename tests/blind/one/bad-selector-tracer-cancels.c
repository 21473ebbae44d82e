// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer sees no signal stop when a bad selector kills the tracee.

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
	static char sel = 2;

	arm(&sel);
	stop_self();
	stub_call(SYS_getpid, 0, 0, 0);
	return 7;
}

int main(void)
{
	int pid = traced(child), status;

	SETUP(!ptrace(PTRACE_CONT, pid, 0, 0));
	status = status_of(pid);
	return killed(status, SIGSYS) ? 0 : 1;
}
