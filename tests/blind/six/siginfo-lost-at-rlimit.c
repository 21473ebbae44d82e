// SPDX-License-Identifier: Apache-2.0 OR MIT
// A dispatched call must have its siginfo even if the limit of pending signals is 0.
#include "common.h"
int main(void)
{
	struct rlimit r = { 0, 0 };
	limit();
	handle(0);
	arm();
	if (setrlimit(RLIMIT_SIGPENDING, &r))
		return 2;
	dcall(NR);
	return !(hits == 1 && si.si_code == 2 && si.si_syscall == NR);
}
