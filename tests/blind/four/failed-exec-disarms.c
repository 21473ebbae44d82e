// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A failed execve leaves the program armed. */
#include "common.h"

int main(void)
{
	int fd = open("/tmp/sud-noexec", O_WRONLY | O_CREAT | O_TRUNC, 0755);
	char *av[] = { "x", NULL };
	SETUP(fd >= 0 && write(fd, "\1\2\3\4 no program", 15) == 15);
	close(fd);
	handle(SIGSYS, on_sys, 0);
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, 0));
	int r = execve("/tmp/sud-noexec", av, av + 1), e = errno;
	unlink("/tmp/sud-noexec");
	SETUP(r == -1 && e == ENOEXEC);
	raw_call(SYS_getppid);
	CHECK(hits == 1);
	return 0;
}
