// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatch with a stack pointer that is no stack is reported to a SIGSEGV
// handler on an alternate stack.

#include "common.h"

extern char bs_begin[], bs_end[];
void bs_call(void);
asm(".pushsection .text\n"
    ".globl bs_begin, bs_end, bs_call\n"
    "bs_begin:\n"
    "bs_call:\n"
    "  mov $4096, %esp\n  mov $39, %eax\n  syscall\n  hlt\n"
    "bs_end:\n"
    ".popsection\n");

static void on_segv(int sig)
{
	_exit(7);
}

static int child(void)
{
	static char sel = BLOCK, mem[65536];
	stack_t ss = { mem, 0, sizeof(mem) };
	struct sigaction sa;

	SETUP(!sigaltstack(&ss, NULL));
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_segv;
	sa.sa_flags = SA_ONSTACK;
	SETUP(!sigaction(SIGSEGV, &sa, NULL));
	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, bs_begin, bs_end - bs_begin, &sel));
	bs_call();
	return 3;
}

int main(void)
{
	return exited(in_child(child), 7) ? 0 : 1;
}
