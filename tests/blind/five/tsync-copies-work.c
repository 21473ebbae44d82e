// SPDX-License-Identifier: Apache-2.0 OR MIT
// A filter synchronised to the threads by an armed thread does not arm its siblings.
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

static volatile int go, done, res;

static void *thread(void *arg)
{
	int i;

	while (!go)
		asm volatile ("pause");
	res = raw(ODD_NR, 0, 0, 0) != -ENOSYS;
	done = 1;
	return 0;
}

static int child(void)
{
	pthread_t t;

	if (pthread_create(&t, 0, thread, 0))
		return 2;
	arm();
	if (filter(ODD_NR + 1, SECCOMP_RET_ERRNO, SECCOMP_FILTER_FLAG_TSYNC))
		return 2;
	go = 1;
	while (!done)
		usleep(1000);
	return res || hits;
}

int main(void)
{
	start();
	return !clean(in_child(child));
}
