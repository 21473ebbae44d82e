// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatch inside of a restartable sequence aborts it: the frame holds the
// address of the abort handler.

#include "common.h"

#define RSEQ_SIG 0x53053053

struct sequence {
	uint32_t version, flags;
	uint64_t start, length, abort;
} __attribute__((aligned(32)));

static struct { char area[64]; } rseq __attribute__((aligned(64)));
extern char rs_begin[], rs_end[], rs_start[], rs_post[], rs_abort[];
long rs_call(uint64_t *rseq_cs, struct sequence *cs);
asm(".pushsection .text\n"
    ".globl rs_begin, rs_end, rs_start, rs_post, rs_abort, rs_call\n"
    "rs_begin:\n"
    "rs_call:\n"
    "  mov %rsi, (%rdi)\n"
    "rs_start:\n"
    "  mov $39, %eax\n  syscall\n"
    "  nop\n"
    "rs_post:\n"
    "  mov $1, %eax\n"
    "  ret\n"
    "  .long 0x53053053\n"
    "rs_abort:\n"
    "  mov $2, %eax\n"
    "  ret\n"
    "rs_end:\n"
    ".popsection\n");

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

int main(void)
{
	static char sel = BLOCK;
	struct sequence cs = { 0, 0, (unsigned long)rs_start, rs_post - rs_start, (unsigned long)rs_abort };
	char *area;
	int i;

	if (&__rseq_size && __rseq_size)
		area = (char *)__builtin_thread_pointer() + __rseq_offset;
	else {
		area = rseq.area;
		SETUP(!syscall(SYS_rseq, area, 32, 0, RSEQ_SIG));
	}
	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, rs_begin, rs_end - rs_begin, &sel));
	/* A preemption may abort it before the call. */
	for (i = 0; i < 1000 && !hits; i++)
		rs_call((uint64_t *)(area + 8), &cs);
	SETUP(hits == 1);
	return seen_reg[REG_RIP] == (long)rs_abort ? 0 : 1;
}
