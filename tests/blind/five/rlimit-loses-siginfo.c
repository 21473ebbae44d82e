// SPDX-License-Identifier: Apache-2.0 OR MIT
// A program at its limit of pending signals still gets the whole siginfo of a dispatched call.
#include "common.h"

int main(void)
{
	struct rlimit r = { 0, 0 };

	start();
	if (setrlimit(RLIMIT_SIGPENDING, &r))
		return 2;
	arm();
	blocked(ODD_NR);
	if (hits != 1)
		return 2;
	return last.si_code != 2 || last.si_syscall != ODD_NR || last.si_arch != 0xc000003e;
}
