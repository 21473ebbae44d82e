// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector on a page that cannot be read yet may be armed. */
#include "common.h"

int main(void)
{
	unsigned char *s = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int st;
	pid_t p = fork();

	/* The range holds everything, so that the selector is not read. */
	if (!p)
		_exit(prctl(59, 1L, 0x1000L, 0x7ffffffff000L, s) ? 1 : 0);
	if (waitpid(p, &st, 0) != p || !WIFEXITED(st))
		return 2;
	return WEXITSTATUS(st);
}
