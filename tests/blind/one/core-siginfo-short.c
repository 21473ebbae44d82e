// SPDX-License-Identifier: Apache-2.0 OR MIT
// The siginfo note of a core dump holds the number, the architecture and the
// address of the dispatched call.

#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define SUD 59
#define OFF 0
#define EXCLUSIVE 1
#define INCLUSIVE 2
#define ALLOW 0
#define BLOCK 1
#define SETUP(c) do { if (!(c)) _exit(2); } while (0)
#define CHECK(c) do { if (!(c)) _exit(1); } while (0)

extern char stub_begin[], stub_ip[], stub80_ip[], stub_end[];
long stub_call(long nr, long a, long b, long c);
long stub80_call(long nr, long a);
asm(".pushsection .text\n"
    ".balign 64\n"
    ".globl stub_begin, stub_ip, stub80_ip, stub_end, stub_call, stub80_call\n"
    "stub_begin:\n"
    "stub_call:\n"
    "  mov %rdi, %rax\n  mov %rsi, %rdi\n  mov %rdx, %rsi\n  mov %rcx, %rdx\n"
    "  syscall\n"
    "stub_ip:\n"
    "  ret\n"
    "  nop\n"
    "stub80_call:\n"
    "  push %rbx\n  mov %rdi, %rax\n  mov %rsi, %rbx\n"
    "  int $0x80\n"
    "stub80_ip:\n"
    "  pop %rbx\n"
    "  ret\n"
    "  nop\n"
    "stub_end:\n"
    ".popsection\n");

static volatile int hits;
static volatile long answer = 0x5a5a;
static siginfo_t seen;
static volatile greg_t seen_reg[NGREG];

static void on_sigsys(int sig, siginfo_t *si, void *v)
{
	ucontext_t *uc = v;
	int i;

	seen = *si;
	for (i = 0; i < NGREG; i++)
		seen_reg[i] = uc->uc_mcontext.gregs[i];
	uc->uc_mcontext.gregs[REG_RAX] = answer;
	hits++;
}

static void install(int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_sigsys;
	sa.sa_flags = SA_SIGINFO | flags;
	SETUP(!sigaction(SIGSYS, &sa, NULL));
}

/* The calls of the stub are dispatched, those of the C library are not. */
static void arm(volatile char *selector)
{
	SETUP(!prctl(SUD, INCLUSIVE, stub_begin, stub_end - stub_begin, selector));
}

static void disarm(void)
{
	SETUP(!prctl(SUD, OFF, 0, 0, 0));
}

static int status_of(int pid)
{
	int status;

	SETUP(waitpid(pid, &status, __WALL) == pid);
	return status;
}

/* The wait status of a child that runs f(). */
static int in_child(int (*f)(void))
{
	struct rlimit none = { 0, 0 };
	int pid = fork();

	SETUP(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		_exit(f());
	}
	return status_of(pid);
}

static int exited(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static int killed(int status, int sig)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

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
