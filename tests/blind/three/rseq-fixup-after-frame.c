// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The context of a call dispatched inside an rseq critical section must be that of the abort handler. */
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

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned __rseq_size __attribute__((weak));
extern char rs_abort[];
long section(unsigned long *rseq_cs, volatile unsigned char *s);
asm(".pushsection .data\n.balign 32\nrs_cs: .long 0, 0\n.quad rs_start, rs_end - rs_start, rs_abort\n.popsection\n"
    ".globl section\nsection:\n lea rs_cs(%rip), %rax\n mov %rdi, %r8\n mov %rax, (%rdi)\n"
    "rs_start:\n movb $1, (%rsi)\n mov $39, %eax\n syscall\n nop\n nop\n"
    "rs_end:\n movb $0, (%rsi)\n movq $0, (%r8)\n ret\n"
    ".long 0x53053053\n.globl rs_abort\nrs_abort:\n movb $0, (%rsi)\n movq $0, (%r8)\n ret\n");
int main(void)
{
	static char own[256] __attribute__((aligned(256)));
	char *rs;
	int i;

	if (&__rseq_size && __rseq_size)
		rs = (char *)__builtin_thread_pointer() + __rseq_offset;
	else {
		rs = own;
		if (syscall(334, own, 32, 0, 0x53053053))
			return 2;
	}
	handler(0);
	if (arm(&sel))
		return 2;
	for (i = 0; i < 1000 && !hits; i++)
		section((unsigned long *)(rs + 8), &sel);
	if (!hits)
		return 2;
	return uc.uc_mcontext.gregs[REG_RIP] == (long)rs_abort ? 0 : 1;
}
