// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call that fails with EFAULT leaves the range of an armed task as it was.
#include "common.h"

long call(long nr);
extern char after[];
asm ("call: mov %rdi, %rax; syscall; after: ret");

int main(void)
{
	start();
	if (sud(SUD_ON, (unsigned long)after, 1, &sel))
		return 2;
	if (sud(SUD_ON, 0x1000, 1, (void *)-64L) != -EFAULT)
		return 2;
	sel = BLOCK;
	long r = call(ODD_NR);
	sel = ALLOW;
	return hits || r != -ENOSYS;
}
