// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A child forked by a task with dispatch and a seccomp filter starts with dispatch off. */
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

static int f(void)
{
	go(SYS_getpid);
	return hits != 0;
}
int main(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, code };

	setup();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return 2;
	arm();
	return verdict(child(f));
}
