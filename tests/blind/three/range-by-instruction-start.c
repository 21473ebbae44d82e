// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A system call instruction that ends exactly at the end of the range is outside it. */
#include "common.h"

long edge(volatile unsigned char *s);
extern char edge_end[];
asm(".globl edge, edge_end\nedge:\n movb $1, (%rdi)\n mov $39, %eax\n syscall\nedge_end:\n movb $0, (%rdi)\n ret\n");
int main(void)
{
	handler(0);
	if (prctl(59, 1L, edge, (unsigned long)edge_end - (unsigned long)edge, &sel))
		return 2;
	edge(&sel);
	return hits == 1 ? 0 : 1;
}
