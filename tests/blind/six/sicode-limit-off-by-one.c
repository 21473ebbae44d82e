// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call reaches a 32-bit SIGSYS handler: its siginfo must have the call address, number and architecture.
#include "common.h"
#define LOW 0x60000000UL

asm(".text\n.code32\n"
    "h32: cld\n movl 8(%esp), %esi\n movl $0x60000000, %edi\n movl $32, %ecx\n rep movsl\n"
    "movl $1, 0x60000100\n movb $0, sel\n movl $1, %eax\n xorl %ebx, %ebx\n int $0x80\n"
    ".code64\n");
extern char h32[];

static int f(void)
{
	uint32_t *sa = (void *)(LOW + 0x200);
	stack_t ss = { (void *)(LOW + 0x1000), 0, 0xf000 };
	long r;

	sigaltstack(&ss, 0);
	sa[0] = (uintptr_t)h32;
	sa[1] = SA_SIGINFO | SA_ONSTACK;
	asm volatile("int $0x80" : "=a"(r) : "a"(174L), "b"((long)SIGSYS), "c"(sa), "d"(0L), "S"(8L)
		     : "r8", "r9", "r10", "r11", "memory");
	if (r)
		return 2;
	arm();
	dcall(NR);
	return 1;
}

int main(void)
{
	uint32_t *m = mmap((void *)LOW, 0x10000, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	int st;

	limit();
	if (m != (void *)LOW)
		return 2;
	st = status(spawn(f));
	if (verdict(st))
		return verdict(st);
	if (!m[64])
		return 2;
	return !(m[0] == SIGSYS && m[2] == 2 && m[3] && m[4] == NR && m[5] == 0xc000003e);
}
