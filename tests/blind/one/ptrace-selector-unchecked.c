// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer cannot set a selector in the kernel half of the address space.

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
	stop_self();
	return 7;
}

int main(void)
{
	struct sud_config cfg = { EXCLUSIVE, 0xffff880000000000ul, 0, 0 };
	int pid = traced(child);
	long r;

	errno = 0;
	r = ptrace(SET_SUD, pid, sizeof(cfg), &cfg);
	return r == -1 && errno == EFAULT ? 0 : 1;
}
