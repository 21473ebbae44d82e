// SPDX-License-Identifier: Apache-2.0 OR MIT
// Arming again with the same offset and selector and another length changes the range, to both sides.
#include "common.h"

static void on_sys_allow(int s, siginfo_t *i, void *u)
{
	hits++;
	sel = 0;
}

static int once(unsigned long len)
{
	hits = 0;
	if (set_sud(SUD_EXCL, (unsigned long)sud_lo, len, &sel))
		_exit(2);
	sel = 1;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	sel = 0;
	return hits;
}

int main(void)
{
	/* The first length ends just before the call, the second just after it */
	unsigned long at = sud_ret - sud_lo;

	start();
	handle(SIGSYS, on_sys_allow, 0);
	if (once(at) != 1)
		return 1;
	if (once(at + 1) != 0)
		return 1;
	return once(at) != 1;
}
