// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call leaves no system call event in the trace.

#include "common.h"

#include <sys/mount.h>

#define T "/tmp/sud-trace/"

static void put(const char *file, const char *value)
{
	int fd = open(file, O_WRONLY | O_TRUNC);

	SETUP(fd >= 0 && write(fd, value, strlen(value)) == strlen(value));
	close(fd);
}

int main(void)
{
	static char sel = BLOCK, buf[1 << 20];
	long n = 0, r;
	int fd;

	mkdir("/tmp/sud-trace", 0700);
	SETUP(!mount("tracefs", "/tmp/sud-trace", "tracefs", 0, NULL));
	install(0);
	put(T "trace", "\n");
	/* Only an exit of the number that is dispatched, and of one that is not. */
	put(T "events/raw_syscalls/sys_exit/filter", "id == 1234 || id == 1235");
	put(T "events/raw_syscalls/sys_exit/enable", "1");
	arm(&sel);
	stub_call(1234, 0, 0, 0);
	disarm();
	stub_call(1235, 0, 0, 0);
	put(T "events/raw_syscalls/sys_exit/enable", "0");
	put(T "events/raw_syscalls/sys_exit/filter", "0");
	fd = open(T "trace", O_RDONLY);
	SETUP(fd >= 0);
	while ((r = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += r;
	close(fd);
	umount("/tmp/sud-trace");
	rmdir("/tmp/sud-trace");
	SETUP(hits == 1 && strstr(buf, "NR 1235"));
	return strstr(buf, "NR 1234") ? 1 : 0;
}
