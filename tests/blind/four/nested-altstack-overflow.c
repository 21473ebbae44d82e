// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatch by code near the end of the alternate stack ends in SIGSEGV and not in a frame below that stack. */
#include "common.h"

unsigned long low, keep_sp;
static void child(void)
{
	char *m = mmap(0, 131072, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = { .ss_sp = m + 65536, .ss_size = 65536 };
	struct rlimit rl = { 0, 0 };
	SETUP(m != MAP_FAILED && !sigaltstack(&ss, 0));
	setrlimit(RLIMIT_CORE, &rl);
	handle(SIGSYS, on_sys, SA_ONSTACK);
	arm();
	low = (unsigned long)m + 65536 + 512;
	asm volatile("mov %%rsp, keep_sp(%%rip)\n\tmov low(%%rip), %%rsp\n\t"
		     "movb $1, sel(%%rip)\n\tmov $0x7123, %%eax\n\tsyscall\n\tmovb $0, sel(%%rip)\n\t"
		     "mov keep_sp(%%rip), %%rsp"
		     ::: "rax", "rcx", "r11", "memory");
	_exit(hits == 1 ? 3 : 2);
}

int main(void)
{
	int st = in_child(child);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
	return 0;
}
