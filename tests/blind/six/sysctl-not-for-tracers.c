// SPDX-License-Identifier: Apache-2.0 OR MIT
// With the sysctl at 0 a tracer must not be able to arm its tracee.
#include "common.h"
#define KNOB "/proc/sys/kernel/syscall_user_dispatch"
static int f(void)
{
	traceme();
	halt();
	return 0;
}
static int put(const char *s)
{
	int fd = open(KNOB, O_WRONLY), r = fd < 0 ? -1 : write(fd, s, 2);
	close(fd);
	return r != 2;
}
int main(void)
{
	struct sud_config c = { 1, (uintptr_t)&sel, 0, 0 };
	pid_t p;
	long r;
	int e;
	limit();
	p = spawn(f);
	await_halt(p);
	if (put("0\n"))
		end(p, 2);
	errno = 0;
	r = ptrace(SUD_SET_CONFIG, p, sizeof(c), &c);
	e = errno;
	if (put("1\n"))
		end(p, 2);
	end(p, !(r == -1 && e == EPERM));
}
