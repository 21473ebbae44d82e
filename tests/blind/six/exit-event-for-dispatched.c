// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call must not appear in the raw_syscalls:sys_exit trace event.
#include "common.h"
#include <sys/mount.h>
#define T "/tmp/six-tracefs"
#define I T "/instances/six/"
static int fds[2];
static int put(const char *f, const char *s)
{
	int fd = open(f, O_WRONLY | O_TRUNC), r = fd < 0 ? -1 : write(fd, s, strlen(s));
	close(fd);
	return r < 0;
}
static int f(void)
{
	char c;
	int i;
	handle(0);
	arm();
	if (read(fds[0], &c, 1) != 1)
		return 2;
	for (i = 0; i < 20; i++)
		dcall(NR);
	raw(SYS_getppid, 0, 0);
	return hits != 20;
}
int main(void)
{
	static char b[1 << 18];
	char s[32];
	pid_t p;
	int st, fd, n, all = 0, ours, r;
	limit();
	mkdir(T, 0700);
	if (pipe(fds) || mount("t", T, "tracefs", 0, 0))
		return 2;
	if (mkdir(I, 0700)) {
		umount(T);
		return 2;
	}
	p = spawn(f);
	sprintf(s, "%d\n", p);
	r = put(I "set_event_pid", s) || put(I "events/raw_syscalls/sys_exit/enable", "1\n");
	if (write(fds[1], "x", 1) != 1)
		r = 1;
	st = status(p);
	put(I "events/raw_syscalls/sys_exit/enable", "0\n");
	fd = open(I "trace", O_RDONLY);
	while (all < sizeof(b) - 1 && (n = read(fd, b + all, sizeof(b) - 1 - all)) > 0)
		all += n;
	close(fd);
	rmdir(I);
	umount(T);
	rmdir(T);
	ours = !strstr(b, "sys_exit: NR 110");
	if (r || ours)
		return 2;
	return verdict(st) || strstr(b, "sys_exit: NR 1911");
}
