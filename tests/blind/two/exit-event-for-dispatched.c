// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call leaves no sys_exit trace event. */
#include "common.h"
#include <sys/mount.h>

static char base[128];
static int put(const char *n, const char *v)
{
	char path[256];
	int fd, r;

	snprintf(path, sizeof(path), "%s/%s", base, n);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return -1;
	r = write(fd, v, strlen(v));
	close(fd);
	return r < 0 ? -1 : 0;
}
int main(void)
{
	static char buf[1 << 16];
	char path[256], mnt[64];
	int fd, n, ret = 2, k;

	sprintf(mnt, "/tmp/tracefs-%d", getpid());
	if (mkdir(mnt, 0755) || mount("t", mnt, "tracefs", 0, NULL))
		return 2;
	sprintf(base, "%s/instances/sud", mnt);
	if (mkdir(base, 0755))
		goto out;
	setup();
	arm();
	if (put("events/raw_syscalls/sys_exit/filter", "id >= 1777 && id <= 1778") ||
	    put("events/raw_syscalls/sys_exit/enable", "1"))
		goto out;
	raw(1778);
	go(1777);
	put("events/raw_syscalls/sys_exit/enable", "0");
	sprintf(path, "%s/trace", base);
	fd = open(path, O_RDONLY);
	n = 0;
	while (fd >= 0 && n < sizeof(buf) - 1 && (k = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += k;
	close(fd);
	if (hits == 1 && strstr(buf, "NR 1778"))
		ret = strstr(buf, "NR 1777") != NULL;
out:
	rmdir(base);
	umount2(mnt, MNT_DETACH);
	rmdir(mnt);
	return ret;
}
