// SPDX-License-Identifier: Apache-2.0 OR MIT
// The selector does not matter to a call from the allowed range.

#include "common.h"

static int child(void)
{
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SETUP(page != MAP_FAILED);
	arm(page);
	return syscall(SYS_getpid) > 0 ? 7 : 3;
}

int main(void)
{
	return exited(in_child(child), 7) ? 0 : 1;
}
