// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program that an armed thread executes is not armed.

#include "common.h"

static int child(void)
{
	char *argv[] = { "x", "again", NULL }, *env[] = { NULL };

	/* Only the calls of the stub are allowed. */
	SETUP(!prctl(SUD, EXCLUSIVE, stub_begin, stub_end - stub_begin, 0));
	stub_call(SYS_execve, (long)"/proc/self/exe", (long)argv, (long)env);
	stub_call(SYS_exit_group, 2, 0, 0);
	return 2;
}

int main(int argc, char **argv)
{
	int status;

	if (argc > 1 && !strcmp(argv[1], "again"))
		_exit(42);
	status = in_child(child);
	SETUP(!exited(status, 2));
	return exited(status, 42) ? 0 : 1;
}
