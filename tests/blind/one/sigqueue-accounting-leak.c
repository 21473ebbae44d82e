// SPDX-License-Identifier: Apache-2.0 OR MIT
// Dispatches do not add up in the count of pending signals.

#include "common.h"

static long sigq(void)
{
	char buf[8192], *p;
	int fd = open("/proc/self/status", O_RDONLY), n;

	SETUP(fd >= 0);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	SETUP(n > 0);
	buf[n] = 0;
	p = strstr(buf, "SigQ:");
	SETUP(p);
	return atol(p + 5);
}

int main(void)
{
	static char sel = BLOCK;
	long before = sigq(), after;
	int i;

	install(0);
	arm(&sel);
	for (i = 0; i < 500; i++)
		stub_call(SYS_getpid, 0, 0, 0);
	disarm();
	after = sigq();
	SETUP(hits == 500);
	return after - before < 250 ? 0 : 1;
}
