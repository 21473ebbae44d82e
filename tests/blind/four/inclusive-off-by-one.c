// SPDX-License-Identifier: Apache-2.0 OR MIT
/* In the inclusive mode a call that returns to the byte before the range is not dispatched, one that returns to its first byte is. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret + 1, 64, &sel));
	sel = 1;
	long r = raw_call(SYS_getppid);
	sel = 0;
	CHECK(!hits && r == getppid());
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, &sel));
	sel = 1;
	raw_call(SYS_getppid);
	sel = 0;
	SETUP(hits == 1);
	return 0;
}
