// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector in a page that was never touched reads as zero: calls must be allowed.
#include "common.h"
static int f(void)
{
	char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (prctl(SUD, 1, 0, 0, m))
		return 2;
	return raw(SYS_getpid, 0, 0) <= 0;
}
int main(void)
{
	limit();
	return verdict(status(spawn(f)));
}
