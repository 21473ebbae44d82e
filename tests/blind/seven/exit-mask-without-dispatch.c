// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call is dispatched while nobody traces calls; the first call which is traced later has both its stops.
#include "common.h"

struct sysinfo_op {
	unsigned char op, pad[3];
	unsigned arch;
	unsigned long ip, sp, nr, rest[12];
};

static int op_of(pid_t p)
{
	struct sysinfo_op i;

	memset(&i, 0, sizeof(i));
	if (ptrace(0x420e, p, sizeof(i), &i) < 0)
		_exit(2);
	return i.op;
}

static int test(void)
{
	pid_t me = syscall(SYS_getpid);

	handle(SIGSYS, on_sys, 0);
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	syscall(SYS_kill, me, SIGSTOP);
	syscall(SYS_getppid);
	syscall(SYS_getppid);
	return 0;
}

int main(void)
{
	pid_t p;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSYS))
		return 2;
	if (!stopped(resume(p, PTRACE_CONT, SIGSYS), SIGSTOP))
		return 2;
	if (!stopped(resume(p, PTRACE_SYSCALL, 0), SIGTRAP | 0x80) || op_of(p) != 1)
		return 1;
	if (!stopped(resume(p, PTRACE_SYSCALL, 0), SIGTRAP | 0x80) || op_of(p) != 2)
		return 1;
	return 0;
}
