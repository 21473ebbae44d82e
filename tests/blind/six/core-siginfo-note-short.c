// SPDX-License-Identifier: Apache-2.0 OR MIT
// The core of a program that died of a dispatched call must have the whole siginfo, with the number of the call.
#include "common.h"
#include <elf.h>
static char dir[] = "/tmp/six-core.XXXXXX";
static int f(void)
{
	struct rlimit r = { RLIM_INFINITY, RLIM_INFINITY };
	if (chdir(dir) || setrlimit(RLIMIT_CORE, &r))
		return 2;
	arm();
	dcall(NR);
	return 1;
}
static int look(char *m, long size)
{
	Elf64_Ehdr *e = (void *)m;
	Elf64_Phdr *ph = (void *)(m + e->e_phoff);
	int i;
	for (i = 0; i < e->e_phnum; i++) {
		char *q = m + ph[i].p_offset, *x = q + ph[i].p_filesz;
		if (ph[i].p_type != PT_NOTE || x > m + size)
			continue;
		while (q + 12 < x) {
			uint32_t *n = (void *)q;
			siginfo_t *s = (void *)(q + 12 + ((n[0] + 3) & ~3));
			if (n[2] == 0x53494749)
				return !(n[1] == sizeof(siginfo_t) && s->si_signo == SIGSYS &&
					 s->si_code == 2 && s->si_syscall == NR);
			q = (char *)s + ((n[1] + 3) & ~3);
		}
	}
	return 1;
}
int main(void)
{
	struct stat s;
	char name[128], *m;
	pid_t p;
	int st, fd;
	limit();
	if (!mkdtemp(dir))
		return 2;
	p = spawn(f);
	st = status(p);
	if (!died_of(st, SIGSYS))
		return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
	sprintf(name, "%s/core", dir);
	fd = open(name, O_RDONLY);
	if (fd < 0) {
		sprintf(name, "%s/core.%d", dir, p);
		fd = open(name, O_RDONLY);
	}
	if (fd < 0 || fstat(fd, &s) || !s.st_size)
		return 2;
	m = mmap(0, s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	unlink(name);
	rmdir(dir);
	if (m == MAP_FAILED)
		return 2;
	return look(m, s.st_size);
}
