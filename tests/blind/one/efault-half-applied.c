// SPDX-License-Identifier: Apache-2.0 OR MIT
// A prctl that fails with EFAULT leaves the range of an armed thread alone.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	long r;

	install(0);
	arm(&sel);
	errno = 0;
	r = prctl(SUD, INCLUSIVE, 0x1000, 16, 0xffff880000000000ul);
	SETUP(r == -1 && errno == EFAULT);
	stub_call(SYS_getpid, 0, 0, 0);
	disarm();
	return hits == 1 ? 0 : 1;
}
