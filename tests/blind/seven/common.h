// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the programs of this set share: a stub whose calls are dispatched, arming, a SIGSYS handler, and fork and trace helpers.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
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
#include <ucontext.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define SUD_PRCTL 59
#define SUD_OFF 0
#define SUD_EXCL 1
#define SUD_INCL 2
#define SUD_CODE 2
#define PT_SET_SUD 0x4210
#define PT_GET_SUD 0x4211
#define FAKE_NR 4242

struct sud_cfg {
	uint64_t mode, selector, offset, len;
};

/* Calls from [sud_lo, sud_hi) are those which are dispatched; sud_ret and sud_iret follow the instructions. */
asm(".pushsection .text.sud,\"ax\",@progbits\n"
    ".balign 4096\n"
    ".globl sud_lo, sud_hi, sud_call, sud_int, sud_ret, sud_iret\n"
    "sud_lo: .fill 256, 1, 0x90\n"
    "sud_call:\n"
    "	mov %rdi, %rax\n	mov %rsi, %rdi\n	mov %rdx, %rsi\n	mov %rcx, %rdx\n"
    "	mov %r8, %r10\n	mov %r9, %r8\n	xor %r9, %r9\n"
    "	syscall\n"
    "sud_ret:\n"
    "	ret\n"
    "	.fill 64, 1, 0x90\n"
    "sud_int:\n"
    "	push %rbx\n	mov %rdi, %rax\n	mov %rsi, %rbx\n	mov %r9, %rdi\n	mov %r8, %rsi\n"
    "	xchg %rcx, %rdx\n"
    "	int $0x80\n"
    "sud_iret:\n"
    "	pop %rbx\n	ret\n"
    "	.fill 256, 1, 0x90\n"
    "sud_hi:\n"
    "	.fill 64, 1, 0x90\n"
    ".popsection\n");
extern char sud_lo[], sud_hi[], sud_ret[], sud_iret[];
extern long sud_call(long nr, long a, long b, long c, long d, long e);
extern long sud_int(long nr, long a, long b, long c, long d, long e);

static volatile unsigned char sel;
static volatile int hits;
static siginfo_t info;
static greg_t regs[NGREG];

static void on_sys(int s, siginfo_t *i, void *u)
{
	memcpy(&info, i, sizeof(info));
	memcpy(regs, ((ucontext_t *)u)->uc_mcontext.gregs, sizeof(regs));
	hits++;
}

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = fn;
	sa.sa_flags = SA_SIGINFO | flags;
	if (sigaction(sig, &sa, NULL))
		_exit(2);
}

static int set_sud(long mode, unsigned long off, unsigned long len, volatile void *selector)
{
	return syscall(SYS_prctl, SUD_PRCTL, mode, off, len, selector);
}

/* Dispatch the calls of the stub, no others; with a selector where one is given */
static void arm(volatile void *selector)
{
	if (set_sud(SUD_INCL, (unsigned long)sud_lo, sud_hi - sud_lo, selector))
		_exit(2);
}

static void late(int s)
{
	_exit(1);
}

/* A kernel on which the program hangs is a broken one */
static void start(void)
{
	signal(SIGALRM, late);
	alarm(4);
}

static pid_t child(int (*fn)(void))
{
	pid_t p = fork();

	if (p < 0)
		_exit(2);
	if (!p) {
		signal(SIGALRM, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn());
	}
	return p;
}

static int reap(pid_t p)
{
	int st;

	if (waitpid(p, &st, __WALL) != p)
		_exit(2);
	return st;
}

/* Run fn in a child; its exit status, or 1 if a signal ended it */
static int run(int (*fn)(void))
{
	int st = reap(child(fn));

	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}

static int (*tracee_fn)(void);
static int tracee_main(void)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(2);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
	return tracee_fn();
}

/* A traced child, stopped before fn; PTRACE_O_TRACESYSGOOD is set */
static pid_t tracee(int (*fn)(void))
{
	pid_t p;
	int st;

	tracee_fn = fn;
	p = child(tracee_main);
	st = reap(p);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != SIGSTOP)
		_exit(2);
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		_exit(2);
	return p;
}

static int resume(pid_t p, int req, int sig)
{
	if (ptrace(req, p, 0, sig))
		_exit(2);
	return reap(p);
}

static int stopped(int st, int sig)
{
	return WIFSTOPPED(st) && WSTOPSIG(st) == sig && !(st >> 16);
}

static int allow_all(int flags)
{
	struct sock_filter f[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (int)strlen(text) ? 0 : -1;
}
