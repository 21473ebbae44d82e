// SPDX-License-Identifier: Apache-2.0 OR MIT
// The siginfo note of a core dump holds the number, the architecture and the
// address of the dispatched call.

#include "common.h"

/* Runs f() in a child that is to dump core; reads the core into buf. */
static char core[1 << 22];
static long core_of(int (*f)(void), int *status)
{
	struct rlimit lim = { 1 << 22, 1 << 22 };
	char dir[] = "/tmp/sudXXXXXX", name[64] = "core.none";
	int pid, fd;
	long n = 0, r;

	SETUP(mkdtemp(dir) && !chdir(dir));
	pid = fork();
	SETUP(pid >= 0);
	if (!pid) {
		prctl(PR_SET_DUMPABLE, 1);
		SETUP(!setrlimit(RLIMIT_CORE, &lim));
		_exit(f());
	}
	*status = status_of(pid);
	fd = open("core", O_RDONLY);
	if (fd < 0) {
		sprintf(name, "core.%d", pid);
		fd = open(name, O_RDONLY);
	}
	if (fd < 0)
		return 0;
	while ((r = read(fd, core + n, sizeof(core) - n)) > 0)
		n += r;
	unlink("core");
	unlink(name);
	chdir("/");
	rmdir(dir);
	return n;
}

static int child(void)
{
	static char sel = BLOCK;

	arm(&sel);
	stub_call(SYS_getppid, 0, 0, 0);
	return 7;
}

int main(void)
{
	Elf64_Ehdr *eh = (void *)core;
	int status, i;
	long n = core_of(child, &status);

	SETUP(killed(status, SIGSYS));
	SETUP(n > sizeof(*eh) && !memcmp(eh->e_ident, ELFMAG, 4));
	for (i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr *ph = (Elf64_Phdr *)(core + eh->e_phoff) + i;
		char *p = core + ph->p_offset, *end = p + ph->p_filesz;

		if (ph->p_type != PT_NOTE)
			continue;
		while (p < end) {
			Elf64_Nhdr *nh = (void *)p;
			siginfo_t *si = (void *)(p + sizeof(*nh) + ((nh->n_namesz + 3) & ~3));

			if (nh->n_type == 0x53494749) {
				CHECK(si->si_signo == SIGSYS && si->si_code == 2);
				CHECK((char *)si->si_call_addr == stub_ip);
				CHECK(si->si_syscall == SYS_getppid);
				CHECK(si->si_arch == AUDIT_ARCH_X86_64);
				return 0;
			}
			p = (char *)si + ((nh->n_descsz + 3) & ~3);
		}
	}
	return 2;
}
