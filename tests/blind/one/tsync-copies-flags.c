// SPDX-License-Identifier: Apache-2.0 OR MIT
// A filter that an armed thread sets for all threads does not arm the others.

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

static volatile int done;

static void *thread(void *arg)
{
	static char sel = BLOCK;

	arm(&sel);
	SETUP(!filter(SYS_getppid, SECCOMP_FILTER_FLAG_TSYNC));
	disarm();
	done = 1;
	return NULL;
}

static int child(void)
{
	pthread_t t;

	SETUP(!pthread_create(&t, NULL, thread, NULL));
	while (!done)
		;
	SETUP(syscall(SYS_getppid) == -1 && errno == EPERM);
	return 7;
}

int main(void)
{
	int status = in_child(child);

	SETUP(!exited(status, 2));
	return exited(status, 7) ? 0 : 1;
}
