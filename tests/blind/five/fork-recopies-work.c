// SPDX-License-Identifier: Apache-2.0 OR MIT
// The child of an armed program that has a seccomp filter is not armed.
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

static int child(void)
{
	return blocked(ODD_NR) != -ENOSYS || hits;
}

int main(void)
{
	start();
	if (filter(ODD_NR + 1, SECCOMP_RET_ERRNO, 0))
		return 2;
	arm();
	return !clean(in_child(child));
}
