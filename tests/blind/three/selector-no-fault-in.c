// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector on a page that was never touched is read as zero and allows. */
#include "common.h"

int main(void)
{
	unsigned char *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int st;
	pid_t p = fork();

	if (!p) {
		if (arm(s))
			_exit(2);
		_exit(getppid() > 0 ? 0 : 2);
	}
	if (waitpid(p, &st, 0) != p)
		return 2;
	return WIFSIGNALED(st) ? 1 : WEXITSTATUS(st);
}
