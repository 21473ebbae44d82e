// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call dispatched within a restartable sequence must abort the sequence, as every signal does.
#include "common.h"
#include <sys/rseq.h>
asm(".text\nrs_call: mov %rsi, (%rdi)\n movb $1, sel\n"
    "rs_start: mov $0x777, %eax\n syscall\nrs_ret: nop\n nop\n"
    "rs_end: movq $0, (%rdi)\n movb $0, sel\n xor %eax, %eax\n ret\n"
    ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
    "rs_abort: movb $0, sel\n mov $1, %eax\n ret\n");
extern char rs_start[], rs_end[], rs_abort[];
extern int rs_call(void *, void *);
static struct {
	uint32_t version, flags;
	uint64_t start, len, abort;
} __attribute__((aligned(32))) cs;
int main(void)
{
	char *r = (char *)__builtin_thread_pointer() + __rseq_offset;
	int i, x = 0;
	limit();
	if (!__rseq_size)
		return 2;
	cs.start = (uintptr_t)rs_start;
	cs.len = rs_end - rs_start;
	cs.abort = (uintptr_t)rs_abort;
	handle(0);
	arm();
	/* A preemption may abort it before the call */
	for (i = 0; i < 20 && !hits; i++)
		x = rs_call(r + offsetof(struct rseq, rseq_cs), &cs);
	if (hits != 1)
		return 2;
	return !(x == 1 && greg[REG_RIP] == (greg_t)(uintptr_t)rs_abort);
}
