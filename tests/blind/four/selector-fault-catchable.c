// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector that is not mapped ends the process by SIGSEGV although it handles SIGSEGV. */
#include "common.h"

static char *page;
static void on_segv(int s, siginfo_t *si, void *v)
{
	mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	_exit(3);
}

static void child(void)
{
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SETUP(page != MAP_FAILED);
	handle(SIGSEGV, on_segv, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, page));
	munmap(page, 4096);
	raw_call(SYS_getpid);
	_exit(4);
}

int main(void)
{
	int st = in_child(child);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV);
	return 0;
}
