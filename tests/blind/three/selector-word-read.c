// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A selector in the last byte before an unmapped page must be readable. */
#include "common.h"

int main(void)
{
	unsigned char *s = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int st;
	pid_t p;

	munmap(s + 4096, 4096);
	p = fork();
	if (!p) {
		if (arm(s + 4095))
			_exit(2);
		_exit(getppid() > 0 ? 0 : 2);
	}
	if (waitpid(p, &st, 0) != p)
		return 2;
	return WIFSIGNALED(st) ? 1 : WEXITSTATUS(st);
}
