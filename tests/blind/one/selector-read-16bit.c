// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector may be the last byte of a mapping.

#include "common.h"

static int child(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SETUP(page != MAP_FAILED && !munmap(page + 4096, 4096));
	page[4095] = BLOCK;
	install(0);
	arm(page + 4095);
	stub_call(SYS_getpid, 0, 0, 0);
	page[4095] = ALLOW;
	stub_call(SYS_getpid, 0, 0, 0);
	return hits == 1 ? 7 : 3;
}

int main(void)
{
	return exited(in_child(child), 7) ? 0 : 1;
}
