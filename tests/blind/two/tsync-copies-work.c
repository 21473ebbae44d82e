// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Spreading a seccomp filter to all threads does not turn dispatch on in them. */
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

static volatile int up, start, over;
static void *t(void *a)
{
	up = 1;
	while (!start)
		;
	raw(SYS_getpid);
	over = 1;
	while (1)
		;
}
static int f(void)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog prog = { 1, code };
	pthread_t th;

	setup();
	if (pthread_create(&th, NULL, t, NULL))
		return 2;
	while (!up)
		usleep(1000);
	arm();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog))
		return 2;
	start = 1;
	while (!over)
		usleep(1000);
	return hits != 0;
}
int main(void)
{
	return verdict(child(f));
}
