// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An execve() that fails with ENOEXEC must leave dispatch armed. */
#include "common.h"

int main(void)
{
	char *a[] = { "x", NULL };
	int fd = open("/tmp/sud-noexec", O_CREAT | O_TRUNC | O_WRONLY, 0755);

	if (fd < 0 || write(fd, "\001\002nothing", 9) != 9 || close(fd))
		return 2;
	handler(0);
	if (arm(&sel))
		return 2;
	if (execve("/tmp/sud-noexec", a, a + 1) != -1 || errno != ENOEXEC)
		return 2;
	unlink("/tmp/sud-noexec");
	blk(39);
	return hits == 1 ? 0 : 1;
}
