// SPDX-License-Identifier: Apache-2.0 OR MIT
// The part that the programs of this set share.

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
