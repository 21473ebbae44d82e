// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A read of an armed program that a handler with SA_RESTART interrupts is restarted. */
#include "common.h"

#include <sys/time.h>
static int pp[2];
static volatile int alarms;
static void on_alarm(int s, siginfo_t *si, void *v)
{
	alarms++;
	write(pp[1], "x", 1);
}

int main(void)
{
	struct itimerval it = { .it_value = { 0, 100000 } };
	char c;
	SETUP(!pipe(pp));
	handle(SIGSYS, on_sys, 0);
	handle(SIGALRM, on_alarm, SA_RESTART);
	arm();
	SETUP(!setitimer(ITIMER_REAL, &it, 0));
	long r = plain(SYS_read, pp[0], (long)&c, 1);
	SETUP(alarms == 1 && !hits);
	CHECK(r == 1 && c == 'x');
	return 0;
}
