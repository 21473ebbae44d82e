// SPDX-License-Identifier: Apache-2.0 OR MIT
// Dispatch must survive the installation of a seccomp filter.
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
int main(void)
{
	struct sock_filter i = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog f = { 1, &i };
	limit();
	handle(0);
	arm();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &f))
		return 2;
	dcall(NR);
	return hits != 1;
}
