// SPDX-License-Identifier: Apache-2.0 OR MIT
// The selector is the last byte before an unmapped page.
#include "common.h"

static int test(void)
{
	unsigned char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || munmap(m + 4096, 4096))
		return 2;
	handle(SIGSYS, on_sys, 0);
	arm(m + 4095);
	if (sud_call(SYS_getpid, 0, 0, 0, 0, 0) != getpid() || hits)
		return 1;
	m[4095] = 1;
	sud_call(SYS_getpid, 0, 0, 0, 0, 0);
	return hits != 1;
}

int main(void)
{
	start();
	return run(test);
}
