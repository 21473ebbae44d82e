// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An inclusive range whose end wraps to zero is refused. */
#include "common.h"

int main(void)
{
	SETUP(!sud(SUD_INCL, -8192UL, 4096, &sel));
	SETUP(!sud(SUD_OFF, 0, 0, 0));
	long r = sud(SUD_INCL, -4096UL, 4096, &sel);
	CHECK(r == -1 && errno == EINVAL);
	return 0;
}
