// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An invalid selector value must leave a core. */
#include "common.h"

static int prepare(void)
{
	char b[256];
	int fd = open("/proc/sys/kernel/core_pattern", O_RDWR), n;

	mkdir("/tmp/sudcore", 0755);
	if (chdir("/tmp/sudcore") || fd < 0)
		return -1;
	n = read(fd, b, sizeof(b));
	if (n < 4 || memcmp(b, "core", 4))
		if (pwrite(fd, "core", 4, 0) != 4)
			return -1;
	close(fd);
	return 0;
}
static void limit(void)
{
	struct rlimit r = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &r);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static char corename[300];
static char *find(void)
{
	DIR *d = opendir(".");
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, "core", 4))
			strcpy(corename, e->d_name);
	return corename;
}

int main(void)
{
	int st;
	pid_t p;

	if (prepare())
		return 2;
	/* Any other death must dump, or else this says nothing. */
	p = fork();
	if (!p) {
		limit();
		raise(SIGQUIT);
	}
	if (waitpid(p, &st, 0) != p || !WIFSIGNALED(st) || !WCOREDUMP(st))
		return 2;
	unlink(find());
	p = fork();
	if (!p) {
		limit();
		if (arm(&sel))
			_exit(2);
		sel = 7;
		syscall(39);
		_exit(2);
	}
	if (waitpid(p, &st, 0) != p || !WIFSIGNALED(st) || WTERMSIG(st) != SIGSYS)
		return 2;
	unlink(find());
	return WCOREDUMP(st) ? 0 : 1;
}
