// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A program that is armed stays so when it installs a seccomp filter. */
#include "common.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

int main(void)
{
	struct sock_filter f[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog pr = { 1, f };
	handle(SIGSYS, on_sys, 0);
	arm();
	SETUP(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SETUP(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &pr));
	blocked(SYS_getppid, 0, 0, 0);
	CHECK(hits == 1 && seen_si.si_code == 2);
	return 0;
}
