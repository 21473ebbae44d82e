// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector byte of 3, or 255, is neither ALLOW nor BLOCK and must end the program, handler or not.
#include "common.h"

static int value;
static int test(void)
{
	handle(SIGSYS, on_sys, 0);
	arm(&sel);
	sel = value;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	int st;

	start();
	for (value = 3; value < 256; value += 252) {
		st = reap(child(test));
		if (!WIFSIGNALED(st) || WTERMSIG(st) != SIGSYS)
			return 1;
	}
	return 0;
}
