// SPDX-License-Identifier: Apache-2.0 OR MIT
// A prctl that fails because of its selector must leave the range in use as it was.
#include "common.h"
int main(void)
{
	/* mov %edi, %eax; syscall; ret */
	long (*f)(long) = code_page("\x89\xf8\x0f\x05\xc3", 5);
	long r;
	limit();
	handle(0);
	if (prctl(SUD, 1, f, 4096, &sel))
		return 2;
	if (prctl(SUD, 1, 0x1000, 0x1000, 0xffff888000001000UL) != -1 || errno != EFAULT)
		return 2;
	sel = 1;
	r = f(SYS_getpid);
	sel = 0;
	return !(hits == 0 && r == getpid());
}
