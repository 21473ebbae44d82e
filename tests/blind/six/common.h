// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the programs of this set share: a SIGSYS handler, arming, dispatched calls, children and tracing.
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
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define SUD 59 /* PR_SET_SYSCALL_USER_DISPATCH */
#define NR 0x777 /* no such system call */
#define SUD_SET_CONFIG 0x4210
#define SUD_GET_CONFIG 0x4211
#define SYSCALL_INFO 0x420e
#define SET_SIGMASK 0x420b

struct sud_config {
	uint64_t mode, selector, offset, len;
};

/* Not static: assembler refers to it */
volatile char sel;
static volatile int hits;
static siginfo_t si;
static greg_t greg[23];
static void (*hook)(ucontext_t *);

static void on_sigsys(int n, siginfo_t *i, void *u)
{
	sel = 0;
	hits++;
	si = *i;
	memcpy(greg, ((ucontext_t *)u)->uc_mcontext.gregs, sizeof(greg));
	if (hook)
		hook(u);
}

static void handle(int mask)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_sigsys;
	sa.sa_flags = SA_SIGINFO;
	if (mask)
		sigaddset(&sa.sa_mask, mask);
	if (sigaction(SIGSYS, &sa, 0))
		_exit(2);
}

/* Everything is dispatched while sel is 1 */
static void arm(void)
{
	if (prctl(SUD, 1, 0, 0, &sel))
		_exit(2);
}

static long raw(long nr, long a, long b)
{
	long r;

	asm volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b), "d"(0L) : "rcx", "r11", "memory");
	return r;
}

static __attribute__((noinline)) long dcall(long nr)
{
	long r;

	sel = 1;
	r = raw(nr, 0, 0);
	sel = 0;
	return r;
}

static void too_long(int n)
{
	_exit(1);
}

static void limit(void)
{
	struct rlimit r = { 0, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &r);
	signal(SIGALRM, too_long);
	alarm(4);
}

/* Run f in a child; its result is the exit code */
static pid_t spawn(int (*f)(void))
{
	pid_t p = fork();

	if (p < 0)
		_exit(2);
	if (!p) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(f());
	}
	return p;
}

static int status(pid_t p)
{
	int st;

	if (waitpid(p, &st, __WALL) != p)
		_exit(2);
	return st;
}

/* The exit code of a child is the verdict; death by a signal is the broken kernel */
static int verdict(int st)
{
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}

static int died_of(int st, int sig)
{
	return WIFSIGNALED(st) && WTERMSIG(st) == sig;
}

static int end(pid_t p, int code)
{
	kill(p, SIGKILL);
	_exit(code);
}

/* In a tracee: let the tracer start */
static void traceme(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(2);
}

static void halt(void)
{
	kill(getpid(), SIGSTOP);
}

/* In the tracer: the tracee stands in its SIGSTOP */
static void await_halt(pid_t p)
{
	int st = status(p);

	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		end(p, 2);
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD))
		end(p, 2);
}

static void go(int req, pid_t p, int sig)
{
	if (ptrace(req, p, 0, sig))
		end(p, 2);
}

/* Every entry stop must be followed by an exit stop: the verdict */
static int pairs(pid_t p)
{
	struct {
		uint8_t op, pad[7];
		uint64_t rest[16];
	} info;
	int entered = 0, sig = 0, n = 0, st;

	for (;;) {
		go(PTRACE_SYSCALL, p, sig);
		sig = 0;
		st = status(p);
		if (!WIFSTOPPED(st))
			return n < 2 ? 2 : verdict(st);
		if (WSTOPSIG(st) != (SIGTRAP | 0x80)) {
			if (entered)
				end(p, 1);
			if (st >> 16 == 0 && WSTOPSIG(st) != SIGTRAP)
				sig = WSTOPSIG(st);
			continue;
		}
		memset(&info, 0, sizeof(info));
		if (ptrace(SYSCALL_INFO, p, sizeof(info), &info) <= 0)
			end(p, 2);
		if (entered ? info.op != 2 : info.op != 1)
			end(p, 1);
		entered = !entered;
		n++;
	}
}

static void *shared(void)
{
	void *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		_exit(2);
	return m;
}

/* A page of code above 4 GiB */
static void *code_page(const char *code, int n)
{
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || (uintptr_t)m >> 32 == 0)
		_exit(2);
	memcpy(m, code, n);
	return m;
}
