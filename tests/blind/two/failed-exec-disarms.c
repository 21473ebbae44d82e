// SPDX-License-Identifier: Apache-2.0 OR MIT
/* After an exec that failed dispatch is still on. */
#include "common.h"

int main(void)
{
	char name[64], *av[] = { name, NULL };
	int fd;

	sprintf(name, "/tmp/garbage-%d", getpid());
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (fd < 0 || write(fd, "\1\2\3\4garbage", 11) != 11)
		return 2;
	close(fd);
	setup();
	arm();
	if (execve(name, av, av + 1) != -1 || errno != ENOEXEC)
		return 2;
	unlink(name);
	go(SYS_getpid);
	return hits != 1;
}
