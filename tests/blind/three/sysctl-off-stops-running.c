// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A program that armed dispatch before the sysctl was turned off must still be dispatched. */
#include "common.h"

static int sysctl_set(const char *v)
{
	int fd = open("/proc/sys/kernel/syscall_user_dispatch", O_WRONLY), r;

	if (fd < 0)
		return -1;
	r = write(fd, v, 1) == 1 ? 0 : -1;
	close(fd);
	return r;
}

int main(void)
{
	handler(0);
	if (arm(&sel))
		return 2;
	if (sysctl_set("0"))
		return 2;
	blk(39);
	sel = 0;
	if (sysctl_set("1"))
		return 2;
	return hits == 1 ? 0 : 1;
}
