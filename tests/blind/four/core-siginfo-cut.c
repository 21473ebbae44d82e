// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The siginfo note in the core dump of a dispatched call has its number and architecture. */
#include "common.h"

#include <elf.h>
static void child(void)
{
	struct rlimit rl = { RLIM_INFINITY, RLIM_INFINITY };
	SETUP(!setrlimit(RLIMIT_CORE, &rl) && !chdir("/tmp/sud-core"));
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	signal(SIGSYS, SIG_DFL);
	arm();
	blocked(MAGIC_NR, 0, 0, 0);
	_exit(2);
}

int main(void)
{
	static char b[65536], name[64];
	int st, fd, found = 0;
	mkdir("/tmp/sud-core", 0777);
	pid_t p = fork();
	SETUP(p >= 0);
	if (!p)
		child();
	SETUP(waitpid(p, &st, 0) == p && WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
	strcpy(name, "/tmp/sud-core/core");
	fd = open(name, O_RDONLY);
	if (fd < 0) {
		sprintf(name, "/tmp/sud-core/core.%d", p);
		fd = open(name, O_RDONLY);
	}
	SETUP(fd >= 0);
	int n = pread(fd, b, sizeof(b), 0);
	close(fd);
	unlink(name);
	rmdir("/tmp/sud-core");
	Elf64_Ehdr *e = (void *)b;
	Elf64_Phdr *ph = (void *)(b + e->e_phoff);
	SETUP(n > 4096 && !memcmp(b, ELFMAG, 4));
	for (int i = 0; i < e->e_phnum; i++) {
		if (ph[i].p_type != PT_NOTE)
			continue;
		unsigned long o = ph[i].p_offset, end = o + ph[i].p_filesz;
		while (o + 12 < end && o + 12 < n) {
			Elf64_Nhdr *nh = (void *)(b + o);
			char *desc = b + o + 12 + ((nh->n_namesz + 3) & ~3);
			if (nh->n_type == 0x53494749 && desc + 64 < b + n) {
				siginfo_t *si = (void *)desc;
				found = 1;
				SETUP(si->si_signo == SIGSYS && si->si_code == 2);
				CHECK(si->si_syscall == MAGIC_NR && si->si_arch == 0xc000003e && si->si_call_addr);
			}
			o = desc - b + ((nh->n_descsz + 3) & ~3);
		}
	}
	SETUP(found);
	return 0;
}
