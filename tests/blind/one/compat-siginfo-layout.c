// SPDX-License-Identifier: Apache-2.0 OR MIT
// A handler that was installed by int $0x80 gets the siginfo in the 32-bit
// layout.

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

extern char h32[], r32[];
unsigned h32_info[8], h32_hits;
unsigned long saved_sp;
void low_call(long nr, void *stack);
asm(".pushsection .text\n"
    ".globl h32, r32, low_call\n"
    "low_call:\n"
    "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, saved_sp(%rip)\n"
    "  mov %rsi, %rsp\n"
    "  xor %esi, %esi\n"
    "  call stub80_call\n"
    "  mov saved_sp(%rip), %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
    "  ret\n"
    ".code32\n"
    "h32:\n"
    "  movl 8(%esp), %esi\n"
    "  movl $h32_info, %edi\n"
    "  movl $8, %ecx\n"
    "  cld\n  rep movsl\n"
    "  incl h32_hits\n"
    "  ret\n"
    "r32:\n"
    "  movl $173, %eax\n  int $0x80\n"
    ".code64\n"
    ".popsection\n");

static long int80(long nr, long a, long b, long c, long d)
{
	long r;

	asm volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) :
		     "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

int main(void)
{
	static char sel = BLOCK;
	char *low = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned *act = (unsigned *)low;

	SETUP(low != MAP_FAILED && (unsigned long)h32 >> 32 == 0);
	act[0] = (unsigned long)h32;
	act[1] = SA_SIGINFO | 0x04000000;
	act[2] = (unsigned long)r32;
	act[3] = act[4] = 0;
	SETUP(!int80(174, SIGSYS, (long)act, 0, 8));
	arm(&sel);
	low_call(20, low + 65536 - 4096);
	SETUP(h32_hits == 1 && h32_info[0] == SIGSYS && h32_info[2] == 2);
	CHECK(h32_info[3] == (unsigned long)stub80_ip);
	CHECK(h32_info[4] == 20);
	CHECK(h32_info[5] == AUDIT_ARCH_I386);
	return 0;
}
