// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector in the last byte before an unmapped page works. */
#include "common.h"

static void child(void)
{
	char *page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SETUP(page != MAP_FAILED && !munmap(page + 4096, 4096));
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, page + 4095));
	page[4095] = 1;
	raw_call(SYS_getppid);
	page[4095] = 0;
	long r = raw_call(SYS_getppid);
	_exit(hits == 1 && r == getppid() ? 0 : 3);
}

int main(void)
{
	int st = in_child(child);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	return 0;
}
