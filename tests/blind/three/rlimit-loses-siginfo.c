// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call must have its siginfo also with RLIMIT_SIGPENDING at zero. */
#include "common.h"

int main(void)
{
	struct rlimit r = { 0, 0 };

	if (setrlimit(RLIMIT_SIGPENDING, &r))
		return 2;
	handler(0);
	if (arm(&sel))
		return 2;
	blk(39);
	if (hits != 1)
		return 2;
	return si.si_code == 2 && si.si_syscall == 39 ? 0 : 1;
}
