// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program whose execve failed with ENOEXEC must still be dispatched.
#include "common.h"
int main(void)
{
	char name[64], *av[] = { "x", 0 }, *ev[] = { 0 };
	int fd, e;
	limit();
	sprintf(name, "/tmp/six-garbage.%d", getpid());
	fd = open(name, O_CREAT | O_WRONLY, 0755);
	if (fd < 0 || write(fd, "\1\2garbage\3\4\n", 12) != 12)
		return 2;
	close(fd);
	handle(0);
	arm();
	execve(name, av, ev);
	e = errno;
	unlink(name);
	if (e != ENOEXEC)
		return 2;
	dcall(NR);
	return hits != 1;
}
