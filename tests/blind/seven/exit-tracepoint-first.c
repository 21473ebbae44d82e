// SPDX-License-Identifier: Apache-2.0 OR MIT
// The raw_syscalls:sys_exit event shows the end of an allowed call, and none of a dispatched one.
#include "common.h"

#include <sys/mount.h>

int main(void)
{
	const char *dir = "/tmp/sud-tracefs", *inst = "/tmp/sud-tracefs/instances/sudseven";
	static char path[256], buf[65536];
	int fd, n, got = 0, ret = 2;

	start();
	mkdir(dir, 0700);
	if (mount("none", dir, "tracefs", 0, NULL) && errno != EBUSY)
		return 2;
	if (mkdir(inst, 0700) && errno != EEXIST)
		goto out;
	handle(SIGSYS, on_sys, 0);
	arm(&sel);
	snprintf(path, sizeof(path), "%s/events/raw_syscalls/sys_exit/filter", inst);
	if (put(path, "id == 4242 || id == 4243"))
		goto out;
	snprintf(path, sizeof(path), "%s/events/raw_syscalls/sys_exit/enable", inst);
	if (put(path, "1"))
		goto out;
	sel = 1;
	sud_call(4242, 0, 0, 0, 0, 0);
	sel = 0;
	sud_call(4243, 0, 0, 0, 0, 0);
	put(path, "0");
	if (hits != 1)
		goto out;
	snprintf(path, sizeof(path), "%s/trace", inst);
	fd = open(path, O_RDONLY);
	while (got < sizeof(buf) - 1 && (n = read(fd, buf + got, sizeof(buf) - 1 - got)) > 0)
		got += n;
	close(fd);
	if (strstr(buf, "NR 4243"))
		ret = strstr(buf, "NR 4242") != NULL;
out:
	rmdir(inst);
	umount(dir);
	rmdir(dir);
	return ret;
}
