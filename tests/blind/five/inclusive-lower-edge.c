// SPDX-License-Identifier: Apache-2.0 OR MIT
// With an inclusive range that begins one byte above the return address, the call is outside and
// must be executed.
#include "common.h"

long call(long nr);
extern char after[];
asm ("call: mov %rdi, %rax; syscall; after: ret");

int main(void)
{
	start();
	if (sud(SUD_INCL, (unsigned long)after + 1, 16, &sel))
		return 2;
	sel = BLOCK;
	long r = call(ODD_NR);
	sel = ALLOW;
	if (hits || r != -ENOSYS)
		return 1;
	/* The lowest address of the range is inside. */
	if (sud(SUD_INCL, (unsigned long)after, 16, &sel))
		return 2;
	sel = BLOCK;
	call(ODD_NR);
	sel = ALLOW;
	return hits != 1;
}
