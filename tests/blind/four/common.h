// SPDX-License-Identifier: Apache-2.0 OR MIT
/* What the programs of this set have in common. Exit code 0: right kernel, 1: the slip is there, 2: setup failed. */
#ifndef COMMON_H
#define COMMON_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#define SUD_OFF 0UL
#define SUD_ON 1UL
#define SUD_INCL 2UL
#define SET_SUD 0x4210
#define GET_SUD 0x4211
#define MAGIC_NR 0x7123L

struct sud_config { uint64_t mode, selector, offset, len; };

#define SETUP(c) do { if (!(c)) _exit(2); } while (0)
#define CHECK(c) do { if (!(c)) _exit(1); } while (0)

static volatile char sel __attribute__((used));
static volatile int hits;
static siginfo_t seen_si;
static volatile greg_t seen_regs[NGREG];

static void on_sys(int sig, siginfo_t *si, void *v)
{
	ucontext_t *uc = v;
	sel = 0;
	hits++;
	memcpy(&seen_si, si, sizeof(seen_si));
	memcpy((void *)seen_regs, uc->uc_mcontext.gregs, sizeof(seen_regs));
}

static void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa;
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = f;
	sa.sa_flags = SA_SIGINFO | flags;
	SETUP(!sigaction(sig, &sa, 0));
}

static long sud(unsigned long mode, unsigned long off, unsigned long len, volatile void *selector)
{
	return syscall(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, mode, off, len, selector);
}

static void arm(void) { SETUP(!sud(SUD_ON, 0, 0, &sel)); }

/* A call made with the selector at BLOCK, and at ALLOW again behind it. */
static __attribute__((noinline)) long blocked(long nr, long a, long b, long c)
{
	long r;
	asm volatile("movb $1, sel(%%rip)\n\tsyscall\n\tmovb $0, sel(%%rip)"
		     : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

/* A call that touches no selector. */
static __attribute__((noinline)) long plain(long nr, long a, long b, long c)
{
	long r;
	asm volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

/* The call at a known place: raw_call(nr), the instruction is at raw_insn, it returns to raw_ret. */
extern char raw_insn[], raw_ret[];
long raw_call(long nr);
asm(".text\n.globl raw_call\nraw_call:\n\tmov %rdi, %rax\nraw_insn:\n\tsyscall\nraw_ret:\n\tret\n"
    ".globl raw_insn\n.globl raw_ret\n");

/* Runs f in a child and returns the wait status. */
static int in_child(void (*f)(void))
{
	int st;
	pid_t p = fork();
	SETUP(p >= 0);
	if (!p) {
		f();
		_exit(0);
	}
	SETUP(waitpid(p, &st, __WALL) == p);
	return st;
}

/* A traced child, stopped by SIGSTOP at the start of f. */
static pid_t traced_child(void (*f)(void))
{
	int st;
	pid_t p = fork();
	SETUP(p >= 0);
	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		f();
		_exit(0);
	}
	SETUP(waitpid(p, &st, __WALL) == p && WIFSTOPPED(st) && WSTOPSIG(st) == SIGSTOP);
	return p;
}

static int next_stop(pid_t p, int req, int sig)
{
	int st;
	SETUP(!ptrace(req, p, 0, (long)sig));
	SETUP(waitpid(p, &st, __WALL) == p);
	return st;
}
#endif
