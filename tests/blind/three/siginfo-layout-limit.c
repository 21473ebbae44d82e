// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that reads the siginfo of a dispatched call with the 32-bit ptrace must find si_arch. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <elf.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <pthread.h>
#include <ucontext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

static volatile unsigned char sel;
static volatile int hits;
static siginfo_t si;
static ucontext_t uc;

static void h(int s, siginfo_t *i, void *u)
{
	sel = 0;
	hits++;
	si = *i;
	memcpy(&uc, u, offsetof(ucontext_t, __fpregs_mem));
}

static void handler(int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = h;
	sa.sa_flags = SA_SIGINFO | flags;
	sigaction(SIGSYS, &sa, NULL);
}

static int arm(volatile unsigned char *s)
{
	return prctl(59, 1L, 0L, 0L, s);
}

/* One system call with the selector at BLOCK. */
static __attribute__((noinline)) long blk(long n)
{
	long r;

	sel = 1;
	asm volatile("syscall" : "=a"(r) : "a"(n), "D"(0), "S"(0), "d"(0)
		     : "rcx", "r11", "memory");
	sel = 0;
	return r;
}

static void *shared(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

struct cfg { unsigned long mode, sel, off, len; };

int main(void)
{
	unsigned *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int st;
	long r;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		blk(39);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		return 2;
	asm volatile("push %%rbx; mov %2, %%ebx; int $0x80; pop %%rbx" : "=a"(r)
		     : "0"(26L), "r"(0x4202), "c"((long)p), "d"(0L), "S"(b)
		     : "memory", "r8", "r9", "r10", "r11");
	kill(p, SIGKILL);
	if ((int)r || b[0] != SIGSYS || b[2] != 2)
		return 2;
	return b[5] == 0xC000003Eu ? 0 : 1;
}
