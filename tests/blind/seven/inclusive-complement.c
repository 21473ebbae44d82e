// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call which ends right below an inclusive range is not in it.
#include "common.h"

int main(void)
{
	start();
	handle(SIGSYS, on_sys, 0);
	if (set_sud(SUD_INCL, (unsigned long)sud_ret + 1, 32, NULL))
		return 2;
	if (sud_call(SYS_getpid, 0, 0, 0, 0, 0) != getpid() || hits)
		return 1;
	if (set_sud(SUD_INCL, (unsigned long)sud_ret, 32, NULL))
		return 2;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	return hits != 1;
}
