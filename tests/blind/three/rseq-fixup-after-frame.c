// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The context of a call dispatched inside an rseq critical section must be that of the abort handler. */
#include "common.h"

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
