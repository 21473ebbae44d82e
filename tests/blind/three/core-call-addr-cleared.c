// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The siginfo note of the core of an undispatched call must hold the address of the call. */
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
	static char b[1 << 20];
	int st, fd, n, i;
	pid_t p;

	if (prepare())
		return 2;
	p = fork();
	if (!p) {
		limit();
		if (arm(&sel))
			_exit(2);
		blk(39);
		_exit(2);
	}
	if (waitpid(p, &st, 0) != p || !WIFSIGNALED(st) || !WCOREDUMP(st))
		return 2;
	fd = open(find(), O_RDONLY);
	n = fd < 0 ? -1 : read(fd, b, sizeof(b));
	unlink(corename);
	if (n < (int)sizeof(Elf64_Ehdr))
		return 2;
	Elf64_Ehdr *e = (void *)b;
	Elf64_Phdr *ph = (void *)(b + e->e_phoff);
	for (i = 0; i < e->e_phnum; i++) {
		if (ph[i].p_type != PT_NOTE)
			continue;
		char *q = b + ph[i].p_offset, *end = q + ph[i].p_filesz;
		while (q < end) {
			Elf64_Nhdr *nh = (void *)q;
			char *d = q + sizeof(*nh) + ((nh->n_namesz + 3) & ~3);
			if (nh->n_type == 0x53494749) {
				siginfo_t *s = (void *)d;
				if (s->si_signo != SIGSYS || s->si_code != 2)
					return 2;
				return s->si_call_addr > (void *)blk && s->si_call_addr < (void *)blk + 200 ? 0 : 1;
			}
			q = d + ((nh->n_descsz + 3) & ~3);
		}
	}
	return 2;
}
