// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A restartable sequence whose syscall is dispatched is aborted before the frame is built: the frame's rip is the abort address. */
#include "common.h"

struct rseq_area { uint32_t cpu_id_start, cpu_id; uint64_t rseq_cs; uint32_t flags, pad[3]; } __attribute__((aligned(32)));
static struct rseq_area own;
struct { uint32_t version, flags; uint64_t start, len, abort; } cs __attribute__((aligned(32)));
struct rseq_area *area;
extern const unsigned int __rseq_size __attribute__((weak));
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern char cs_start[], cs_end[], cs_abort[];
void sequence(void);
asm(".text\nsequence:\n\tmov area(%rip), %rax\n\tlea cs(%rip), %rdx\n\tmov %rdx, 8(%rax)\n"
    "cs_start:\n\tmovb $1, sel(%rip)\n\tmov $0x7123, %eax\n\tsyscall\n\tnop\n\tnop\n"
    "cs_end:\n\tjmp cs_out\n\t.long 0x53053053\n"
    "cs_abort:\n\tnop\n"
    "cs_out:\n\tmovb $0, sel(%rip)\n\tmov area(%rip), %rax\n\tmovq $0, 8(%rax)\n\tret\n");

int main(void)
{
	if (&__rseq_size && __rseq_size)
		area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	else {
		SETUP(!syscall(SYS_rseq, &own, 32, 0, 0x53053053));
		area = &own;
	}
	SETUP((int)area->cpu_id >= 0);
	cs.start = (uint64_t)cs_start;
	cs.len = cs_end - cs_start;
	cs.abort = (uint64_t)cs_abort;
	handle(SIGSYS, on_sys, 0);
	arm();
	for (int i = 0; i < 1000 && !hits; i++)
		sequence();
	SETUP(hits == 1);
	CHECK(seen_regs[REG_RIP] == (greg_t)cs_abort);
	return 0;
}
