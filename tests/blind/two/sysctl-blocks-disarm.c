// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With the sysctl at 0 dispatch can still be turned off. */
#include "common.h"

int main(void)
{
	int fd = open("/proc/sys/kernel/syscall_user_dispatch", O_WRONLY), r;

	if (fd < 0)
		return 2;
	setup();
	arm();
	if (write(fd, "0", 1) != 1)
		return 2;
	r = sud(0, 0, 0, NULL);
	pwrite(fd, "1", 1, 0);
	return r != 0;
}
