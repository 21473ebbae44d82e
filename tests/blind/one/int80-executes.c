// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call by int $0x80 that is dispatched is not made.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	int old = umask(022);

	install(0);
	arm(&sel);
	stub80_call(60, 077);
	disarm();
	SETUP(hits == 1);
	return umask(old) == 022 ? 0 : 1;
}
