// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A filter that one thread synchronizes to all must not give its dispatch to the others. */
#include "common.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
static volatile int go, res = -1;
static void *thread(void *x)
{
	while (!go)
		usleep(1000);
	blk(39);
	res = hits;
	return NULL;
}
int main(void)
{
	struct sock_filter f[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog pr = { 1, f };
	pthread_t t;

	handler(0);
	if (arm(&sel) || pthread_create(&t, NULL, thread, NULL))
		return 2;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 2;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &pr))
		return 2;
	/* Keep out of the kernel while the thread has the selector at BLOCK. */
	go = 1;
	while (res == -1)
		asm volatile("pause" ::: "memory");
	return res ? 1 : 0;
}
