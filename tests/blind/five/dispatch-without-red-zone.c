// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the code keeps in its red zone survives a dispatched call.
#include "common.h"

long call(long nr);
asm ("call: mov %rdi, %rdx\n"
     "movabs $0x1122334455667788, %rax\n"
     "cld\n"
     "lea -128(%rsp), %rdi\n"
     "mov $16, %ecx\n"
     "rep stosq\n"
     "mov %rdx, %rax\n"
     "syscall\n"
     "movabs $0x1122334455667788, %rax\n"
     "lea -128(%rsp), %rdi\n"
     "mov $16, %ecx\n"
     "repe scasq\n"
     "setne %al\n"
     "movzbl %al, %eax\n"
     "ret");

int main(void)
{
	start();
	arm();
	sel = BLOCK;
	long r = call(ODD_NR);
	sel = ALLOW;
	if (hits != 1)
		return 2;
	return r != 0;
}
