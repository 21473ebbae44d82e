// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call within a restartable sequence aborts it, as any signal does.
#include "common.h"

#include <sys/rseq.h>
struct cs { unsigned int version, flags; unsigned long start, len, abort; } __attribute__((aligned(32)));
extern char cs_start[], cs_end[], cs_abort[];
static struct cs cs;
static volatile greg_t ip;

static void on_rseq(int sig, siginfo_t *si, void *uc)
{
	sel = ALLOW;
	hits++;
	ip = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
}

/* Returns whether the sequence was aborted. */
static __attribute__((noinline)) long sequence(struct rseq *rs)
{
	long aborted;

	sel = BLOCK;
	asm volatile ("mov $0x1234, %%eax\n"
		      "movq %2, %1\n"
		      "cs_start: syscall\n"
		      "nop\n nop\n"
		      "cs_end: xor %%eax, %%eax\n"
		      "jmp 2f\n"
		      ".byte 0x0f, 0xb9, 0x3d\n"
		      ".long 0x53053053\n"
		      "cs_abort: mov $1, %%eax\n"
		      "2:"
		      : "=&a" (aborted), "=m" (*(unsigned long *)&rs->rseq_cs)
		      : "r" (&cs) : "rcx", "r11", "memory");
	sel = ALLOW;
	*(unsigned long *)&rs->rseq_cs = 0;
	return aborted;
}

int main(void)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	long aborted;
	int i;

	if (!__rseq_size)
		return 2;
	start();
	handle(SIGSYS, on_rseq, 0);
	arm();
	cs.start = (unsigned long)cs_start;
	cs.len = cs_end - cs_start;
	cs.abort = (unsigned long)cs_abort;
	/* Again if preemption was faster than the call. */
	for (i = 0; i < 100 && !hits; i++)
		aborted = sequence(rs);
	if (hits != 1)
		return 2;
	return !aborted || ip != (greg_t)cs_abort;
}
