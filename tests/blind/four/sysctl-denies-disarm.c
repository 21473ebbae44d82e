// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With kernel.syscall_user_dispatch at 0 an armed program can still disarm. */
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

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	SETUP(put("0") == 1);
	long on = sud(SUD_ON, 0, 0, &sel);
	int e = errno;
	long off = sud(SUD_OFF, 0, 0, 0);
	put("1");
	SETUP(on == -1 && e == EPERM);
	CHECK(!off);
	return 0;
}
