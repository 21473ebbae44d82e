// SPDX-License-Identifier: Apache-2.0 OR MIT
// The selector lies in a page which is not there when the call is made; it reads as 0, and the call goes through.
#include "common.h"

static int test(void)
{
	unsigned char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		return 2;
	arm(m + 100);
	if (sud_call(SYS_getpid, 0, 0, 0, 0, 0) != getpid())
		return 1;
	m[100] = 1;
	if (madvise(m, 8192, MADV_DONTNEED))
		return 2;
	return sud_call(SYS_getpid, 0, 0, 0, 0, 0) != getpid();
}

int main(void)
{
	start();
	return run(test);
}
