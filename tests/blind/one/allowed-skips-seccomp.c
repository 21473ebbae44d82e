// SPDX-License-Identifier: Apache-2.0 OR MIT
// The calls that dispatch lets through are subject to the seccomp filter.

#include "common.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

/* Calls of nr fail with EPERM. */
static long filter(unsigned nr, unsigned flags)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, f };

	SETUP(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

int main(void)
{
	static char sel = ALLOW;

	SETUP(!filter(SYS_getppid, 0));
	SETUP(syscall(SYS_getppid) == -1 && errno == EPERM);
	arm(&sel);
	CHECK(syscall(SYS_getppid) == -1 && errno == EPERM);
	CHECK(stub_call(SYS_getppid, 0, 0, 0) == -EPERM);
	return 0;
}
