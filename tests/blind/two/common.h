// SPDX-License-Identifier: Apache-2.0 OR MIT
// The part that the programs of this set share.

#define _GNU_SOURCE
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
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

volatile char sel;			/* 0: allow, 1: block */
static volatile int hits;
static siginfo_t gi;
static greg_t gr[NGREG];

/* One system call, with no arguments that matter */
static __attribute__((noinline)) long raw(long nr)
{
	long r;

	asm volatile("syscall" : "=a"(r) : "a"(nr), "D"(0), "S"(0), "d"(0)
		     : "rcx", "r11", "memory");
	return r;
}

static void on_sys(int sig, siginfo_t *si, void *uc)
{
	sel = 0;
	hits++;
	gi = *si;
	memcpy(gr, ((ucontext_t *)uc)->uc_mcontext.gregs, sizeof(gr));
}

static void setup(void)
{
	struct sigaction sa = { .sa_sigaction = on_sys, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSYS, &sa, NULL))
		_exit(2);
}

static long sud(unsigned long mode, unsigned long off, unsigned long len, volatile void *s)
{
	return syscall(SYS_prctl, 59, mode, off, len, s);
}

static void arm(void)
{
	if (sud(1, 0, 0, &sel))
		_exit(2);
}

/* One system call with the selector at "block" */
static __attribute__((noinline)) long go(long nr)
{
	long r;

	sel = 1;
	r = raw(nr);
	sel = 0;
	return r;
}

/* Run f in a child and give its wait status */
static __attribute__((unused)) int child(int (*f)(void))
{
	int st;
	pid_t p = fork();

	if (p < 0)
		exit(2);
	if (!p)
		_exit(f());
	if (waitpid(p, &st, __WALL) != p)
		exit(2);
	return st;
}

static __attribute__((unused)) int verdict(int st)
{
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}

static __attribute__((unused)) volatile int *shared(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	return p;
}

/* Stop as tracee */
static __attribute__((unused)) void traceme(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(2);
	syscall(SYS_kill, getpid(), SIGSTOP);
}

static __attribute__((unused)) int next(pid_t p)
{
	int st;

	if (waitpid(p, &st, __WALL) != p)
		exit(2);
	return st;
}

/* Start f as a tracee stopped by SIGSTOP */
static __attribute__((unused)) pid_t tracee(int (*f)(void))
{
	int st;
	pid_t p = fork();

	if (p < 0)
		exit(2);
	if (!p)
		_exit(f());
	st = next(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		exit(2);
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		exit(2);
	return p;
}

static __attribute__((unused)) int done(pid_t p, int ret)
{
	kill(p, SIGKILL);
	waitpid(p, NULL, __WALL);
	return ret;
}
