// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The raw_syscalls:sys_enter trace event holds the calls that dispatch lets through and not those that it dispatches. */
#include "common.h"

#define T "/tmp/sud-trace"
static int put(const char *f, const char *s)
{
	int fd = open(f, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return -1;
	int r = write(fd, s, strlen(s));
	close(fd);
	return r > 0 ? 0 : -1;
}

static char b[1 << 20];

int main(void)
{
	char pid[16];
	int bad = 1, n = 0, r;
	mkdir(T, 0700);
	SETUP(!mount("t", T, "tracefs", 0, 0));
	sprintf(pid, "%d", getpid());
	handle(SIGSYS, on_sys, 0);
	if (!put(T "/set_event_pid", pid) && !put(T "/events/raw_syscalls/sys_enter/enable", "1")) {
		arm();
		blocked(MAGIC_NR, 0, 0, 0);
		plain(MAGIC_NR + 1, 0, 0, 0);
		sud(SUD_OFF, 0, 0, 0);
		put(T "/events/raw_syscalls/sys_enter/enable", "0");
		int fd = open(T "/trace", O_RDONLY);
		if (fd >= 0) {
			while (n < sizeof(b) - 1 && (r = read(fd, b + n, sizeof(b) - 1 - n)) > 0)
				n += r;
			close(fd);
			bad = 0;
		}
		int w = open(T "/set_event_pid", O_WRONLY | O_TRUNC);
		close(w);
	}
	umount(T);
	rmdir(T);
	SETUP(!bad && hits == 1 && strstr(b, "NR 28964 "));
	CHECK(!strstr(b, "NR 28963 "));
	return 0;
}
