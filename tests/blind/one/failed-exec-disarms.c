// SPDX-License-Identifier: Apache-2.0 OR MIT
// An execve that fails leaves the thread armed.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	char *argv[] = { "x", NULL }, *env[] = { NULL };
	int fd = syscall(SYS_memfd_create, "x", 0);

	SETUP(fd >= 0 && write(fd, "\1\2 is no program", 16) == 16);
	install(0);
	arm(&sel);
	SETUP(syscall(SYS_execveat, fd, "", argv, env, 0x1000) == -1 && errno == ENOEXEC);
	stub_call(SYS_getpid, 0, 0, 0);
	return hits == 1 ? 0 : 1;
}
