// SPDX-License-Identifier: Apache-2.0 OR MIT
// At the SIGSYS stop of a dispatched call its number is in orig_rax and in /proc/PID/syscall.
#include "common.h"

static int child(void)
{
	arm();
	blocked(ODD_NR);
	return 0;
}

int main(void)
{
	char path[64], b[512];
	int fd, n;
	pid_t p;

	start();
	p = traced(child);
	if (!stopped_by(resume(PTRACE_CONT, p, 0), SIGSYS))
		return 2;
	if (regs_of(p).orig_rax != ODD_NR)
		return 1;
	snprintf(path, sizeof(path), "/proc/%d/syscall", p);
	fd = open(path, O_RDONLY);
	if (fd < 0 || (n = read(fd, b, sizeof(b) - 1)) <= 0)
		return 2;
	b[n] = 0;
	return atoi(b) != ODD_NR;
}
