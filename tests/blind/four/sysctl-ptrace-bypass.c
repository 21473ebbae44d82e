// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With kernel.syscall_user_dispatch at 0 a tracer cannot arm its tracee either. */
#include "common.h"

static int put(const char *s)
{
	int fd = open("/proc/sys/kernel/syscall_user_dispatch", O_WRONLY);
	if (fd < 0)
		return -1;
	int r = write(fd, s, 1);
	close(fd);
	return r;
}

static void child(void) {}

int main(void)
{
	struct sud_config c = { 1, (uint64_t)&sel, 0, 0 };
	pid_t p = traced_child(child);
	if (put("0") != 1) {
		kill(p, SIGKILL);
		return 2;
	}
	long own = sud(SUD_ON, 0, 0, &sel);
	int e1 = errno;
	long r = ptrace(SET_SUD, p, (void *)sizeof(c), &c);
	int e = errno;
	put("1");
	kill(p, SIGKILL);
	SETUP(own == -1 && e1 == EPERM);
	CHECK(r == -1 && e == EPERM);
	return 0;
}
