// SPDX-License-Identifier: Apache-2.0 OR MIT
// The handler of a call that was dispatched with the direction flag set starts
// with the flag clear.

#include "common.h"

extern char df_begin[], df_end[];
void df_call(void);
void df_handler(int);
unsigned long df_flags = ~0ul;
asm(".pushsection .text\n"
    ".globl df_begin, df_end, df_call, df_handler\n"
    "df_begin:\n"
    "df_call:\n"
    "  std\n  mov $39, %eax\n  syscall\n  cld\n  ret\n"
    "df_end:\n"
    "df_handler:\n"
    "  pushfq\n  popq df_flags(%rip)\n  cld\n  ret\n"
    ".popsection\n");

int main(void)
{
	static char sel = BLOCK;
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = df_handler;
	SETUP(!sigaction(SIGSYS, &sa, NULL));
	SETUP(!prctl(SUD, INCLUSIVE, df_begin, df_end - df_begin, &sel));
	df_call();
	SETUP(df_flags != ~0ul);
	return df_flags & 0x400 ? 1 : 0;
}
