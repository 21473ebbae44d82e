// SPDX-License-Identifier: Apache-2.0 OR MIT
// A handler that sets the carry flag in the frame, as an emulated call may
// report an error, is obeyed.

#include "common.h"

extern char cf_begin[], cf_end[];
long cf_call(void);
asm(".pushsection .text\n"
    ".globl cf_begin, cf_end, cf_call\n"
    "cf_begin:\n"
    "cf_call:\n"
    "  clc\n  mov $39, %eax\n  syscall\n"
    "  mov $0, %eax\n  adc $0, %eax\n  ret\n"
    "cf_end:\n"
    ".popsection\n");

static void on_carry(int sig, siginfo_t *si, void *v)
{
	((ucontext_t *)v)->uc_mcontext.gregs[REG_EFL] |= 1;
	hits++;
}

int main(void)
{
	static char sel = BLOCK;
	struct sigaction sa;
	long r;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_carry;
	sa.sa_flags = SA_SIGINFO;
	SETUP(!sigaction(SIGSYS, &sa, NULL));
	SETUP(!prctl(SUD, INCLUSIVE, cf_begin, cf_end - cf_begin, &sel));
	r = cf_call();
	SETUP(hits == 1);
	return r == 1 ? 0 : 1;
}
