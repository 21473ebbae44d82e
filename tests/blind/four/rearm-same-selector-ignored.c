// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Arming again with the same selector and another range brings the new range into force. */
#include "common.h"

int main(void)
{
	handle(SIGSYS, on_sys, 0);
	arm();
	SETUP(!sud(SUD_ON, (unsigned long)raw_ret, 1, &sel));
	sel = 1;
	long r = raw_call(SYS_getppid);
	sel = 0;
	CHECK(hits == 0 && r == getppid());
	return 0;
}
