// SPDX-License-Identifier: Apache-2.0 OR MIT
// An allowed read of an armed program that a signal interrupts returns EINTR, or goes on with
// SA_RESTART.
#include "common.h"

static int fds[2];
static volatile int ticks, feed;

static void on_tick(int sig)
{
	if (++ticks > 60)
		_exit(1);
	if (feed && ticks > 2 && write(fds[1], "x", 1) != 1)
		_exit(2);
}

int main(void)
{
	struct itimerval it = { { 0, 50000 }, { 0, 50000 } }, off = { 0 };
	char c;

	handle(SIGSYS, on_sys, 0);
	if (pipe(fds))
		return 2;
	arm();
	handle(SIGALRM, on_tick, 0);
	setitimer(ITIMER_REAL, &it, 0);
	if (raw(SYS_read, fds[0], (long)&c, 1) != -EINTR)
		return 1;
	handle(SIGALRM, on_tick, SA_RESTART);
	ticks = 0;
	feed = 1;
	if (raw(SYS_read, fds[0], (long)&c, 1) != 1)
		return 1;
	setitimer(ITIMER_REAL, &off, 0);
	return 0;
}
