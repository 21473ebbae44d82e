// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call made with the direction flag set is dispatched; the handler runs with it clear, and finds it in the saved flags.
#include "common.h"

extern void df_handler(int, siginfo_t *, void *);
static volatile unsigned long df_flags __asm__("df_flags") __attribute__((used));
static volatile unsigned long df_saved __asm__("df_saved") __attribute__((used));
asm(".text\ndf_handler:\n	pushfq\n	popq df_flags(%rip)\n	cld\n"
    "	mov 176(%rdx), %rax\n	mov %rax, df_saved(%rip)\n	ret\n");

int main(void)
{
	start();
	if (offsetof(ucontext_t, uc_mcontext.gregs[REG_EFL]) != 176)
		return 2;
	handle(SIGSYS, df_handler, 0);
	arm(NULL);
	asm volatile("sub $256, %%rsp\n\tstd\n\tmov $4242, %%edi\n\tcall sud_call\n\tcld\n\tadd $256, %%rsp"
		     ::: "rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", "r11", "memory", "cc");
	return !df_flags || (df_flags & 0x400) || !(df_saved & 0x400);
}
