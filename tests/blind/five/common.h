// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the programs of this set share: a SIGSYS handler, arming, raw system calls, ptrace helpers.
#ifndef COMMON_H
#define COMMON_H
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PR_SUD 59
#define SUD_OFF 0UL
#define SUD_ON 1UL
#define SUD_INCL 2UL
#define SET_SUD 0x4210
#define GET_SUD 0x4211
#define ODD_NR 0x1234		/* a number no kernel knows */
#define ALLOW 0
#define BLOCK 1

struct sud_config { uint64_t mode, selector, offset, len; };

static volatile unsigned char sel;	/* the selector, mostly */
static volatile int hits;		/* dispatched calls seen */
static siginfo_t last;			/* their last siginfo */
static greg_t lastregs[23];

static void on_sys(int sig, siginfo_t *si, void *uc)
{
	sel = ALLOW;
	hits++;
	memcpy(&last, si, sizeof(last));
	memcpy(lastregs, ((ucontext_t *)uc)->uc_mcontext.gregs, sizeof(lastregs));
}

static void on_alarm(int sig)
{
	sel = ALLOW;
	_exit(1);
}

static void handle(int sig, void *fn, int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))fn;
	sa.sa_flags = SA_SIGINFO | flags;
	if (sigaction(sig, &sa, 0))
		_exit(2);
}

/* The SIGSYS handler, and a limit of four seconds that counts as the slip. */
static void start(void)
{
	handle(SIGSYS, on_sys, 0);
	handle(SIGALRM, on_alarm, 0);
	alarm(4);
}

static long raw(long nr, long a, long b, long c)
{
	long ret;

	asm volatile ("syscall" : "=a" (ret) : "0" (nr), "D" (a), "S" (b), "d" (c)
		      : "rcx", "r11", "memory");
	return ret;
}

static long int80(long nr, long a, long b, long c, long d)
{
	long ret;

	asm volatile ("push %%rbx; mov %2, %%rbx; int $0x80; pop %%rbx"
		      : "=a" (ret) : "0" (nr), "r" (a), "c" (b), "d" (c), "S" (d)
		      : "r8", "r9", "r10", "r11", "memory");
	return ret;
}

static int sud(unsigned long mode, unsigned long off, unsigned long len, volatile void *s)
{
	return syscall(SYS_prctl, PR_SUD, mode, off, len, s) ? -errno : 0;
}

/* Armed for every address, by the selector sel (allowed at first). */
static void arm(void)
{
	sel = ALLOW;
	if (sud(SUD_ON, 0, 0, &sel))
		_exit(2);
}

/* A system call with the selector at BLOCK. */
static long blocked(long nr)
{
	long ret;

	sel = BLOCK;
	ret = raw(nr, 0, 0, 0);
	sel = ALLOW;
	return ret;
}

static void *page(size_t len)
{
	void *p = mmap(0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	return p;
}

static void *shared(void)
{
	void *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	return p;
}

/* Runs fn in a child and returns the wait status. */
static int in_child(int (*fn)(void))
{
	int st;
	pid_t p = fork();

	if (p < 0)
		_exit(2);
	if (!p)
		_exit(fn());
	if (waitpid(p, &st, 0) != p)
		_exit(2);
	return st;
}

/* A traced child, stopped by its own SIGSTOP before it runs fn. */
static pid_t traced(int (*fn)(void))
{
	int st;
	pid_t p = fork();

	if (p < 0)
		_exit(2);
	if (!p) {
		alarm(4);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(2);
		raise(SIGSTOP);
		_exit(fn());
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		_exit(2);
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD))
		_exit(2);
	return p;
}

/* Resumes and returns the next status. */
static int resume(int req, pid_t p, long sig)
{
	int st;

	if (ptrace(req, p, 0, sig) || waitpid(p, &st, __WALL) != p)
		_exit(2);
	return st;
}

static struct user_regs_struct regs_of(pid_t p)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, p, 0, &r))
		_exit(2);
	return r;
}

static int stopped_by(int st, int sig)
{
	return WIFSTOPPED(st) && WSTOPSIG(st) == sig;
}

static int clean(int st)
{
	return WIFEXITED(st) && WEXITSTATUS(st) == 0;
}
#endif
