// SPDX-License-Identifier: Apache-2.0 OR MIT
// The selector may be the last byte before an unmapped page.
#include "common.h"

static int child(void)
{
	volatile unsigned char *p = page(8192);

	if (munmap((void *)(p + 4096), 4096))
		return 2;
	p[4095] = ALLOW;
	if (sud(SUD_ON, 0, 0, p + 4095))
		return 2;
	return raw(ODD_NR, 0, 0, 0) != -ENOSYS;
}

int main(void)
{
	start();
	return !clean(in_child(child));
}
