// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An attempt to arm that fails with EFAULT leaves the range in force alone. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, &sel));
	SETUP(sud(SUD_ON, (unsigned long)raw_ret, 1, (void *)(1UL << 63)) == -1 && errno == EFAULT);
	sel = 1;
	raw_call(SYS_getppid);
	sel = 0;
	CHECK(hits == 1);
	return 0;
}
