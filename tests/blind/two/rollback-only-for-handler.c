// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The core dump of a task killed by a dispatched call shows the number of the call in RAX. */
#include "common.h"
#include <elf.h>
#include <sys/procfs.h>

static int f(void)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_CORE, &l))
		return 2;
	signal(SIGSYS, SIG_DFL);
	arm();
	go(SYS_getppid);
	return 1;
}
int main(void)
{
	static char buf[1 << 16];
	char dir[64], name[64], pat[256] = "";
	Elf64_Ehdr *eh = (void *)buf;
	Elf64_Phdr *ph;
	int fd, st, i, ret = 2, n;
	pid_t p;

	sprintf(dir, "/tmp/core-%d", getpid());
	if (mkdir(dir, 0755) || chdir(dir))
		return 2;
	fd = open("/proc/sys/kernel/core_pattern", O_RDWR);
	if (fd >= 0 && read(fd, pat, 255) > 0 && strcmp(pat, "core\n"))
		pwrite(fd, "core", 4, 0);
	p = fork();
	if (!p)
		_exit(f());
	st = next(p);
	if (!WIFSIGNALED(st) || WTERMSIG(st) != SIGSYS)
		return 2;
	sprintf(name, "core.%d", p);
	fd = open("core", O_RDONLY);
	if (fd < 0)
		fd = open(name, O_RDONLY);
	if (fd < 0 || (n = read(fd, buf, sizeof(buf))) < 4096)
		return 2;
	ph = (void *)(buf + eh->e_phoff);
	for (i = 0; i < eh->e_phnum; i++, ph++) {
		Elf64_Nhdr *nh = (void *)(buf + ph->p_offset);

		if (ph->p_type != PT_NOTE || ph->p_offset + ph->p_filesz > n)
			continue;
		if (nh->n_type == NT_PRSTATUS) {
			struct elf_prstatus *ps = (void *)((char *)(nh + 1) + 8);
			struct user_regs_struct *r = (void *)ps->pr_reg;

			ret = !(r->rax == SYS_getppid && r->orig_rax == SYS_getppid);
		}
	}
	unlink("core");
	unlink(name);
	rmdir(dir);
	return ret;
}
