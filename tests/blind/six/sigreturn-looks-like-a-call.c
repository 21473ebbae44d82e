// SPDX-License-Identifier: Apache-2.0 OR MIT
// A SIGSYS handler's result of -512 must arrive unchanged although its return unblocks a pending signal.
#include "common.h"
static volatile int seen;
static void usr1(int n)
{
	seen++;
}
static void result(ucontext_t *u)
{
	kill(getpid(), SIGUSR1);
	u->uc_mcontext.gregs[REG_RAX] = -512;
}
int main(void)
{
	struct sigaction sa;
	long r;
	limit();
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = usr1;
	sigaction(SIGUSR1, &sa, 0);
	handle(SIGUSR1);
	hook = result;
	arm();
	r = dcall(NR);
	return !(hits == 1 && seen == 1 && r == -512);
}
