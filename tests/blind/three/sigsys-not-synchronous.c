// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With another signal pending at a dispatched call the context of the SIGSYS handler must be that of the call. */
#include "common.h"

#include <poll.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
static int ufd, pid, tid;
static volatile unsigned char *page;
static volatile int usr, ok;
static void usr1(int s) { *page = 0; usr = 1; }
static void sys(int s, siginfo_t *i, void *u)
{
	*page = 0;
	hits++;
	uc.uc_mcontext.gregs[REG_RIP] = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP];
}
static void *thread(void *x)
{
	static unsigned char src[4096] __attribute__((aligned(4096)));
	struct uffd_msg m;
	struct uffdio_copy c;

	src[0] = 1;
	if (read(ufd, &m, sizeof(m)) != sizeof(m))
		return NULL;
	syscall(SYS_tgkill, pid, tid, SIGUSR1);
	usleep(20000);
	memset(&c, 0, sizeof(c));
	c.dst = (unsigned long)page;
	c.src = (unsigned long)src;
	c.len = 4096;
	if (!ioctl(ufd, UFFDIO_COPY, &c))
		ok = 1;
	return NULL;
}
int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r;
	struct sigaction sa;
	pthread_t t;
	int i;

	pid = getpid();
	tid = syscall(SYS_gettid);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ufd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (ufd < 0 || ioctl(ufd, UFFDIO_API, &api))
		return 2;
	memset(&r, 0, sizeof(r));
	r.range.start = (unsigned long)page;
	r.range.len = 4096;
	r.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(ufd, UFFDIO_REGISTER, &r))
		return 2;
	signal(SIGUSR1, usr1);
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = sys;
	sa.sa_flags = SA_SIGINFO;
	sigaction(SIGSYS, &sa, NULL);
	if (pthread_create(&t, NULL, thread, NULL) || arm(page))
		return 2;
	asm volatile("syscall" : "=a"(i) : "a"(39L) : "rcx", "r11", "memory");
	*page = 0;
	if (hits != 1 || !usr)
		return 2;
	return uc.uc_mcontext.gregs[REG_RIP] == (long)usr1 ? 1 : 0;
}
