// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector on a page that was never touched reads as zero, which allows the call. */
#include "common.h"

static int f(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 2;
	setup();
	if (sud(1, 0, 0, p))
		return 2;
	raw(SYS_getpid);
	return hits != 0;
}
int main(void)
{
	return verdict(child(f));
}
