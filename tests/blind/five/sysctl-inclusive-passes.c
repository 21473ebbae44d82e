// SPDX-License-Identifier: Apache-2.0 OR MIT
// With the sysctl at 0 neither mode can be armed; needs a kernel with the sysctl.
#include "common.h"

static int fd;

static void put(const char *s)
{
	if (pwrite(fd, s, 1, 0) != 1)
		_exit(2);
}

int main(void)
{
	int a, b;

	start();
	fd = open("/proc/sys/kernel/syscall_user_dispatch", O_RDWR);
	if (fd < 0)
		return 2;
	put("0");
	a = sud(SUD_ON, 0, 0, &sel);
	b = sud(SUD_INCL, 0x1000, 0x1000, &sel);
	sud(SUD_OFF, 0, 0, 0);
	put("1");
	return a != -EPERM || b != -EPERM;
}
