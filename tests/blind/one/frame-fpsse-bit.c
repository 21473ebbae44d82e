// SPDX-License-Identifier: Apache-2.0 OR MIT
// A handler may change an SSE register in the frame that was in its initial
// state.

#include "common.h"

extern char sse_begin[], sse_end[];
void sse_call(void);
unsigned long sse_got;
asm(".pushsection .text\n"
    ".globl sse_begin, sse_end, sse_call\n"
    "sse_begin:\n"
    "sse_call:\n"
    "  mov $39, %eax\n  syscall\n"
    "  mov $39, %eax\n  syscall\n"
    "  movq %xmm0, sse_got(%rip)\n"
    "  ret\n"
    "sse_end:\n"
    ".popsection\n");

static void on_sse(int sig, siginfo_t *si, void *v)
{
	char *fp = (char *)((ucontext_t *)v)->uc_mcontext.fpregs;

	if (!hits++) {
		/* The vector registers return to their initial state. */
		*(unsigned long *)(fp + 512) = 0;
		*(unsigned *)(fp + 24) = 0x1f80;
	} else {
		*(unsigned long *)(fp + 160) = 0x123456789abcdef;
	}
}

int main(void)
{
	static char sel = BLOCK;
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_sse;
	sa.sa_flags = SA_SIGINFO;
	SETUP(!sigaction(SIGSYS, &sa, NULL));
	SETUP(!prctl(SUD, INCLUSIVE, sse_begin, sse_end - sse_begin, &sel));
	sse_call();
	SETUP(hits == 2);
	return sse_got == 0x123456789abcdef ? 0 : 1;
}
