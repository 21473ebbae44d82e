// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call inside a restartable sequence aborts it: the frame shows the abort address.
#include "common.h"

#include <sys/rseq.h>

extern char rs_start[], rs_end[], rs_abort[];
extern long rs_run(void *where, void *cs);
asm(".text\n.globl rs_start, rs_end, rs_abort, rs_run\nrs_run:\n"
    "	mov %rsi, (%rdi)\n"
    "rs_start:\n	mov $4242, %eax\n	syscall\n"
    ".globl rs_ret\nrs_ret:\n	nop\n"
    "rs_end:\n	movq $0, (%rdi)\n	mov $1, %eax\n	ret\n"
    "	.byte 0x0f, 0xb9, 0x3d\n	.long 0x53053053\n"
    "rs_abort:\n	mov $2, %eax\n	ret\n");
extern char rs_ret[];

int main(void)
{
	static struct { unsigned version, flags; unsigned long start, len, abort; } cs __attribute__((aligned(32)));
	struct rseq *rs = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	long r;
	int i;

	start();
	if (!__rseq_size || (int)rs->cpu_id < 0)
		return 2;
	cs.start = (unsigned long)rs_start;
	cs.len = rs_end - rs_start;
	cs.abort = (unsigned long)rs_abort;
	handle(SIGSYS, on_sys, 0);
	if (set_sud(SUD_INCL, (unsigned long)rs_ret, 1, NULL))
		return 2;
	for (i = 0; i < 100 && !hits; i++)
		r = rs_run(&rs->rseq_cs, &cs);
	if (hits != 1)
		return 2;
	return r != 2 || regs[REG_RIP] != (greg_t)rs_abort || info.si_call_addr != rs_ret;
}
