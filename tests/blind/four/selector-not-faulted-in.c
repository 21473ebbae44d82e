// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector in a page that nothing has touched yet is read as 0 and lets the call through. */
#include "common.h"

static void child(void)
{
	char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SETUP(page != MAP_FAILED);
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, page));
	long r = raw_call(SYS_getppid);
	_exit(!hits && r == getppid() ? 0 : 3);
}

int main(void)
{
	int st = in_child(child);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	return 0;
}
