// SPDX-License-Identifier: Apache-2.0 OR MIT
// After a dispatch an allowed call has both of its syscall stops.

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
	stub_call(SYS_getpid, 0, 0, 0);
	stop_self();
	syscall(SYS_getppid);
	syscall(SYS_getuid);
	return 7;
}

static int next_op(int pid)
{
	unsigned char info[256];
	int status;

	SETUP(!ptrace(PTRACE_SYSCALL, pid, 0, 0));
	status = status_of(pid);
	SETUP(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80));
	SETUP(ptrace(0x420e, pid, sizeof(info), info) > 0);
	return info[0];
}

int main(void)
{
	int pid, status, entry, exit_;

	pid = fork();
	SETUP(pid >= 0);
	if (!pid) {
		SETUP(!ptrace(PTRACE_TRACEME, 0, 0, 0));
		_exit(child());
	}
	status = status_of(pid);
	SETUP(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSYS);
	SETUP(!ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
	SETUP(!ptrace(PTRACE_CONT, pid, 0, SIGSYS));
	status = status_of(pid);
	SETUP(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	entry = next_op(pid);
	exit_ = next_op(pid);
	SETUP(entry == 1);
	return exit_ == 2 ? 0 : 1;
}
