// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A call dispatched inside a restartable sequence aborts the sequence: the frame shows the abort address. */
#include "common.h"
#include <sys/rseq.h>

asm(".text\n"
    ".long 0x53053053\n"
    "abort_ip: jmp seq_out\n"
    "run:\n"
    "lea cs(%rip), %rax\n"
    "mov %rax, (%rdi)\n"
    "seq_start:\n"
    "mov $39, %eax\n"
    "syscall\n"
    "nop\n"
    "seq_end:\n"
    "seq_out: movq $0, (%rdi)\n"
    "ret\n"
    ".data\n"
    ".balign 32\n"
    "cs: .long 0, 0\n"
    ".quad seq_start, seq_end - seq_start, abort_ip\n"
    ".text\n");
extern char abort_ip[];
extern void run(void *);
int main(void)
{
	static struct { char a[32]; } own __attribute__((aligned(32)));
	char *r = (char *)__builtin_thread_pointer() + __rseq_offset;
	int len;

	/* Replace the registration of the C library by an original one of 32 bytes */
	for (len = 32; __rseq_size && len <= 1024; len += 4)
		if (!syscall(SYS_rseq, r, len, 1, 0x53053053))
			break;
	r = (char *)&own;
	if (syscall(SYS_rseq, r, 32, 0, 0x53053053))
		return 2;
	setup();
	arm();
	/* Again if an interrupt aborted the sequence before the call */
	for (len = 0; len < 100 && !hits; len++) {
		sel = 1;
		run(r + 8);
		sel = 0;
	}
	if (hits != 1)
		return 2;
	return gr[REG_RIP] != (long)abort_ip;
}
