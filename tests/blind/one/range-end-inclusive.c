// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call whose address is the very first of an inclusive range is dispatched.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;

	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, stub_ip, 16, &sel));
	stub_call(SYS_getpid, 0, 0, 0);
	disarm();
	return hits == 1 ? 0 : 1;
}
