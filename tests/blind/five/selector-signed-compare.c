// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector of 0xff must end the program with SIGSYS, and not be taken for BLOCK.
#include "common.h"

static int child(void)
{
	arm();
	sel = 0xff;
	raw(ODD_NR, 0, 0, 0);
	sel = ALLOW;
	return 0;
}

int main(void)
{
	int st;

	start();
	st = in_child(child);
	return !(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
}
