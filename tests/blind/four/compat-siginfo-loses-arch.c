// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 32-bit SIGSYS handler finds address, number and architecture of a dispatched int 0x80 in its siginfo. */
#include "common.h"

uint32_t act[5], si32[8], got;
unsigned long lowstack, keep, rc;
extern char h32[], ret32[];
asm(".text\n.code32\n"
    "h32:\n\tmovb $0, sel\n\tmovl 8(%esp), %eax\n"
    "\tmovl 0(%eax), %ecx\n\tmovl %ecx, si32\n\tmovl 8(%eax), %ecx\n\tmovl %ecx, si32+8\n"
    "\tmovl 12(%eax), %ecx\n\tmovl %ecx, si32+12\n\tmovl 16(%eax), %ecx\n\tmovl %ecx, si32+16\n"
    "\tmovl 20(%eax), %ecx\n\tmovl %ecx, si32+20\n"
    "\tmovl $1, got\n\tpopl %eax\n\tmovl $173, %eax\n\tint $0x80\n\tud2\n.code64\n");

int main(void)
{
	char *st = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	SETUP(st != MAP_FAILED && (unsigned long)h32 < 1UL << 31);
	lowstack = (unsigned long)st + 65536 - 256;
	act[0] = (uint32_t)(unsigned long)h32;
	act[1] = 0x04000000 | SA_SIGINFO;	/* SA_RESTORER, for it is not used */
	act[2] = (uint32_t)(unsigned long)h32;
	asm volatile("mov $174, %%eax\n\tmov $31, %%ebx\n\tlea act(%%rip), %%ecx\n\txor %%edx, %%edx\n\tmov $8, %%esi\n\tint $0x80\n\tmov %%rax, rc(%%rip)"
		     ::: "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
	SETUP((int)rc == 0);
	arm();
	asm volatile("push %%rbp\n\tpush %%rbx\n\tmov %%rsp, keep(%%rip)\n\tmov lowstack(%%rip), %%rsp\n\t"
		     "movb $1, sel(%%rip)\n\tmov $0x7123, %%eax\n\tint $0x80\nret32:\n\tmovb $0, sel(%%rip)\n\t"
		     "mov keep(%%rip), %%rsp\n\tpop %%rbx\n\tpop %%rbp"
		     ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	SETUP(got == 1 && si32[0] == SIGSYS && si32[2] == 2);
	CHECK(si32[3] == (uint32_t)(unsigned long)ret32 && si32[4] == MAGIC_NR && si32[5] == 0x40000003);
	return 0;
}
