// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The selector may be the last byte of a page with nothing mapped behind it. */
#include "common.h"

static char *s;
static int f(void)
{
	setup();
	if (sud(1, 0, 0, s))
		return 2;
	raw(SYS_getpid);
	return hits != 0;
}
int main(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p + 4096, 4096))
		return 2;
	s = p + 4095;
	*s = 0;
	return verdict(child(f));
}
