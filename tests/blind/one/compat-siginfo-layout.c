// SPDX-License-Identifier: Apache-2.0 OR MIT
// A handler that was installed by int $0x80 gets the siginfo in the 32-bit
// layout.

#include "common.h"

extern char h32[], r32[];
unsigned h32_info[8], h32_hits;
unsigned long saved_sp;
void low_call(long nr, void *stack);
asm(".pushsection .text\n"
    ".globl h32, r32, low_call\n"
    "low_call:\n"
    "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, saved_sp(%rip)\n"
    "  mov %rsi, %rsp\n"
    "  xor %esi, %esi\n"
    "  call stub80_call\n"
    "  mov saved_sp(%rip), %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
    "  ret\n"
    ".code32\n"
    "h32:\n"
    "  movl 8(%esp), %esi\n"
    "  movl $h32_info, %edi\n"
    "  movl $8, %ecx\n"
    "  cld\n  rep movsl\n"
    "  incl h32_hits\n"
    "  ret\n"
    "r32:\n"
    "  movl $173, %eax\n  int $0x80\n"
    ".code64\n"
    ".popsection\n");

static long int80(long nr, long a, long b, long c, long d)
{
	long r;

	asm volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) :
		     "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

int main(void)
{
	static char sel = BLOCK;
	char *low = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned *act = (unsigned *)low;

	SETUP(low != MAP_FAILED && (unsigned long)h32 >> 32 == 0);
	act[0] = (unsigned long)h32;
	act[1] = SA_SIGINFO | 0x04000000;
	act[2] = (unsigned long)r32;
	act[3] = act[4] = 0;
	SETUP(!int80(174, SIGSYS, (long)act, 0, 8));
	arm(&sel);
	low_call(20, low + 65536 - 4096);
	SETUP(h32_hits == 1 && h32_info[0] == SIGSYS && h32_info[2] == 2);
	CHECK(h32_info[3] == (unsigned long)stub80_ip);
	CHECK(h32_info[4] == 20);
	CHECK(h32_info[5] == AUDIT_ARCH_I386);
	return 0;
}
