// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 32-bit handler gets the call number and the architecture of a dispatched call. */
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

unsigned int g32[32];
unsigned long save_sp;
asm(".text\n"
    "h32: .code32\n"
    "mov %edx, %esi\n"
    "mov $g32, %edi\n"
    "mov $32, %ecx\n"
    "cld\n"
    "rep movsl\n"
    "movb $0, sel\n"
    "ljmp $0x33, $back64\n"
    ".code64\n"
    "fire:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, save_sp(%rip)\n"
    "movb $1, sel(%rip)\n"
    "mov $39, %eax\n"
    "syscall\n"
    "back64:\n"
    "mov save_sp(%rip), %rsp\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "ret\n"
    "act80:\n"
    "push %rbx\n"
    "mov %edi, %ecx\n"
    "mov $31, %ebx\n"
    "xor %edx, %edx\n"
    "mov $8, %esi\n"
    "mov $174, %eax\n"
    "int $0x80\n"
    "pop %rbx\n"
    "movslq %eax, %rax\n"
    "ret\n");
extern char h32[];
extern void fire(void);
extern long act80(void *);
int main(void)
{
	static struct { uint32_t handler, flags, restorer, mask[2]; } act;
	stack_t ss = { 0 };
	char *st = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (st == MAP_FAILED)
		return 2;
	ss.ss_sp = st;
	ss.ss_size = 1 << 16;
	act.handler = (unsigned long)h32;
	act.flags = SA_SIGINFO | SA_ONSTACK;
	if (sigaltstack(&ss, NULL) || act80(&act))
		return 2;
	arm();
	fire();
	if (g32[0] != SIGSYS || g32[2] != 2)
		return 2;
	return !(g32[3] && g32[4] == SYS_getpid && g32[5] == 0xc000003e);
}
