// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The trap flag of a tracer that single-steps must not be in the context of the handler. */
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
	int st, i;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		raise(SIGSTOP);
		blk(39);
		_exit(hits != 1 ? 2 : uc.uc_mcontext.gregs[REG_EFL] & 0x100 ? 1 : 0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		return 2;
	for (i = 0; i < 20000; i++) {
		if (ptrace(PTRACE_SINGLESTEP, p, 0, 0) || waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
			return 2;
		if (WSTOPSIG(st) == SIGSYS)
			break;
		if (WSTOPSIG(st) != SIGTRAP)
			return 2;
	}
	if (i == 20000)
		return 2;
	if (ptrace(PTRACE_SINGLESTEP, p, 0, SIGSYS) || waitpid(p, &st, 0) != p || !WIFSTOPPED(st))
		return 2;
	/* Let go; pass over any further trap. */
	for (i = 0; i < 1000; i++) {
		ptrace(PTRACE_CONT, p, 0, 0);
		if (waitpid(p, &st, 0) != p)
			return 2;
		if (!WIFSTOPPED(st))
			break;
	}
	if (WIFSTOPPED(st)) {
		kill(p, SIGKILL);
		return 1;
	}
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}
