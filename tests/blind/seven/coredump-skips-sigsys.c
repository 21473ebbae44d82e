// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call without a handler ends the program with a core, as SIGABRT does.
#include "common.h"

static void tidy(pid_t p)
{
	char name[64];

	snprintf(name, sizeof(name), "core.%d", p);
	unlink(name);
	unlink("core");
}

static int aborts(void)
{
	syscall(SYS_kill, getpid(), SIGABRT);
	return 0;
}

static int dispatched(void)
{
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	pid_t p;
	int st;

	start();
	if (mkdir("/tmp/sud-core", 0700) && errno != EEXIST)
		return 2;
	if (chdir("/tmp/sud-core") || setrlimit(RLIMIT_CORE, &all))
		return 2;
	p = child(aborts);
	st = reap(p);
	tidy(p);
	if (!WIFSIGNALED(st) || !WCOREDUMP(st))
		return 2;
	p = child(dispatched);
	st = reap(p);
	tidy(p);
	rmdir("/tmp/sud-core");
	if (!WIFSIGNALED(st) || WTERMSIG(st) != SIGSYS)
		return 2;
	return !WCOREDUMP(st);
}
