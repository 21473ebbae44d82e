// SPDX-License-Identifier: Apache-2.0 OR MIT
// A selector in a page that was never touched reads as ALLOW.

#include "common.h"

static int child(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SETUP(page != MAP_FAILED);
	install(0);
	arm(page + 100);
	return stub_call(SYS_getpid, 0, 0, 0) == syscall(SYS_getpid) && !hits ? 7 : 3;
}

int main(void)
{
	return exited(in_child(child), 7) ? 0 : 1;
}
