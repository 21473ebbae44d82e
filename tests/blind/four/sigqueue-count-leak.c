// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Dispatched calls do not raise the count of queued signals in /proc/self/status. */
#include "common.h"

static int queued(void)
{
	static char b[8192];
	int fd = open("/proc/self/status", O_RDONLY), n;
	SETUP(fd >= 0 && (n = read(fd, b, sizeof(b) - 1)) > 0);
	close(fd);
	b[n] = 0;
	char *p = strstr(b, "SigQ:");
	SETUP(p);
	return atoi(p + 5);
}

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	int before = queued();
	for (int i = 0; i < 50; i++)
		blocked(MAGIC_NR, 0, 0, 0);
	SETUP(hits == 50);
	CHECK(queued() - before < 25);
	return 0;
}
