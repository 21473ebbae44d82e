// SPDX-License-Identifier: Apache-2.0 OR MIT
// An allowed call that a filter traps is reported with the code of seccomp, in an armed program
// too.
#include "common.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

static long filter(int nr, unsigned int ret, unsigned int flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, ret),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog fp = { 4, f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &fp);
}

int main(void)
{
	start();
	arm();
	if (filter(ODD_NR, SECCOMP_RET_TRAP | 77, 0))
		return 2;
	raw(ODD_NR, 0, 0, 0);
	if (hits != 1 || last.si_errno != 77)
		return 2;
	if (last.si_code != 1)
		return 1;
	blocked(ODD_NR);
	return hits != 2 || last.si_code != 2 || last.si_errno != 0;
}
