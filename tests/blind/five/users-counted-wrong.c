// SPDX-License-Identifier: Apache-2.0 OR MIT
// An unarmed program that turns dispatch off many times has no influence on another that is armed.
#include "common.h"

int main(void)
{
	volatile int *sh = shared();
	int st, i;
	pid_t p;

	start();
	p = fork();
	if (p < 0)
		return 2;
	if (!p) {
		alarm(4);
		arm();
		sh[0] = 1;
		while (!sh[1])
			usleep(1000);
		blocked(ODD_NR);
		_exit(hits != 1);
	}
	while (!sh[0])
		usleep(1000);
	for (i = 0; i < 100000; i++)
		raw(SYS_prctl, PR_SUD, SUD_OFF, 0);
	sh[1] = 1;
	if (waitpid(p, &st, 0) != p)
		return 2;
	return !clean(st);
}
