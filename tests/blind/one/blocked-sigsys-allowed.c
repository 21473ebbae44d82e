// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call that is dispatched in the SIGSYS handler, with SIGSYS blocked, kills
// the process.

#include "common.h"

static void on_sig(int sig)
{
	stub_call(SYS_getpid, 0, 0, 0);
}

static int child(void)
{
	static char sel = BLOCK;

	signal(SIGSYS, on_sig);
	arm(&sel);
	stub_call(SYS_getpid, 0, 0, 0);
	return 7;
}

int main(void)
{
	return killed(in_child(child), SIGSYS) ? 0 : 1;
}
