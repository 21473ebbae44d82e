// SPDX-License-Identifier: Apache-2.0 OR MIT
// An int 0x80 within the allowed range must be allowed also above 4 GiB.
#include "common.h"
int main(void)
{
	/* mov %edi, %eax; push %rbx; int $0x80; pop %rbx; ret */
	long (*f)(long) = code_page("\x89\xf8\x53\xcd\x80\x5b\xc3", 7);
	long r;
	limit();
	handle(0);
	if (f(20) != getpid())
		return 2;
	if (prctl(SUD, 1, f, 4096, &sel))
		return 2;
	sel = 1;
	r = f(20);
	sel = 0;
	return !(hits == 0 && r == getpid());
}
