// SPDX-License-Identifier: Apache-2.0 OR MIT
// A thread that is armed is dispatched while arming is denied.

#include "common.h"

static void sysctl(const char *value)
{
	int fd = open("/proc/sys/kernel/syscall_user_dispatch", O_WRONLY);

	SETUP(fd >= 0);
	SETUP(write(fd, value, 1) == 1);
	close(fd);
}

int main(void)
{
	static char sel = BLOCK;

	install(0);
	arm(&sel);
	sysctl("0");
	stub_call(SYS_getpid, 0, 0, 0);
	sysctl("1");
	return hits == 1 ? 0 : 1;
}
