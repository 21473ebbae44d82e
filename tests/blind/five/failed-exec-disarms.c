// SPDX-License-Identifier: Apache-2.0 OR MIT
// After an exec that failed with ENOEXEC the program is still armed.
#include "common.h"

int main(void)
{
	char *argv[] = { "x", 0 };
	int fd = open("/tmp/failed-exec-disarms.bin", O_CREAT | O_TRUNC | O_WRONLY, 0755);

	if (fd < 0 || write(fd, "\1\2\3\4 not a program", 18) != 18 || close(fd))
		return 2;
	start();
	arm();
	if (execve("/tmp/failed-exec-disarms.bin", argv, 0) != -1 || errno != ENOEXEC)
		return 2;
	unlink("/tmp/failed-exec-disarms.bin");
	blocked(ODD_NR);
	return hits != 1;
}
