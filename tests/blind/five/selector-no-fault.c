// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector on a page that was given back reads as zero and allows the call.
#include "common.h"

static int child(void)
{
	volatile unsigned char *p = page(8192);

	p[5] = BLOCK;
	if (sud(SUD_ON, 0, 0, p + 5))
		return 2;
	p[5] = ALLOW;
	if (madvise((void *)p, 4096, MADV_DONTNEED))
		return 2;
	return raw(ODD_NR, 0, 0, 0) != -ENOSYS;
}

int main(void)
{
	start();
	return !clean(in_child(child));
}
