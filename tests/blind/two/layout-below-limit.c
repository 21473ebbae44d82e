// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 32-bit handler gets the call number and the architecture of a dispatched call. */
#include "common.h"

unsigned int g32[32];
unsigned long save_sp;
asm(".text\n"
    "h32: .code32\n"
    "mov %edx, %esi\n"
    "mov $g32, %edi\n"
    "mov $32, %ecx\n"
    "cld\n"
    "rep movsl\n"
    "movb $0, sel\n"
    "ljmp $0x33, $back64\n"
    ".code64\n"
    "fire:\n"
    "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, save_sp(%rip)\n"
    "movb $1, sel(%rip)\n"
    "mov $39, %eax\n"
    "syscall\n"
    "back64:\n"
    "mov save_sp(%rip), %rsp\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
    "ret\n"
    "act80:\n"
    "push %rbx\n"
    "mov %edi, %ecx\n"
    "mov $31, %ebx\n"
    "xor %edx, %edx\n"
    "mov $8, %esi\n"
    "mov $174, %eax\n"
    "int $0x80\n"
    "pop %rbx\n"
    "movslq %eax, %rax\n"
    "ret\n");
extern char h32[];
extern void fire(void);
extern long act80(void *);
int main(void)
{
	static struct { uint32_t handler, flags, restorer, mask[2]; } act;
	stack_t ss = { 0 };
	char *st = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (st == MAP_FAILED)
		return 2;
	ss.ss_sp = st;
	ss.ss_size = 1 << 16;
	act.handler = (unsigned long)h32;
	act.flags = SA_SIGINFO | SA_ONSTACK;
	if (sigaltstack(&ss, NULL) || act80(&act))
		return 2;
	arm();
	fire();
	if (g32[0] != SIGSYS || g32[2] != 2)
		return 2;
	return !(g32[3] && g32[4] == SYS_getpid && g32[5] == 0xc000003e);
}
