// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With the sysctl at 0 a tracer cannot arm its tracee. */
#include "common.h"

struct cfg { uint64_t mode, selector, offset, len; };
static int f(void)
{
	traceme();
	return 0;
}
int main(void)
{
	int fd = open("/proc/sys/kernel/syscall_user_dispatch", O_WRONLY), r;
	struct cfg c = { 1, 0, 0, 0 };
	pid_t p;

	if (fd < 0)
		return 2;
	p = tracee(f);
	if (write(fd, "0", 1) != 1)
		return done(p, 2);
	errno = 0;
	r = ptrace(0x4210, p, sizeof(c), &c);
	r = !(r == -1 && errno == EPERM);
	pwrite(fd, "1", 1, 0);
	return done(p, r);
}
