// SPDX-License-Identifier: Apache-2.0 OR MIT
// A signal that arrives while the selector is being paged in (by userfaultfd) must not get its
// frame before that of SIGSYS.
#include "common.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
static int uffd;
static unsigned char *pg;
static pid_t tid;
static volatile int order, usr_at, sys_at;
static volatile greg_t usr_ip, sys_ip;

static void on_sys2(int sig, siginfo_t *si, void *uc)
{
	*pg = ALLOW;
	sys_at = ++order;
	sys_ip = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
}

static void on_usr(int sig, siginfo_t *si, void *uc)
{
	*pg = ALLOW;
	usr_at = ++order;
	usr_ip = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
}

static void *server(void *arg)
{
	static unsigned char src[4096] __attribute__((aligned(4096)));
	struct uffdio_copy c;
	struct uffd_msg m;

	if (read(uffd, &m, sizeof(m)) != sizeof(m))
		_exit(2);
	if (syscall(SYS_tgkill, getpid(), tid, SIGUSR1))
		_exit(2);
	src[0] = BLOCK;
	memset(&c, 0, sizeof(c));
	c.dst = (unsigned long)pg;
	c.src = (unsigned long)src;
	c.len = 4096;
	if (ioctl(uffd, UFFDIO_COPY, &c))
		_exit(2);
	return 0;
}

long call(long nr);
extern char after[];
asm ("call: mov %rdi, %rax; syscall; after: ret");

int main(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg;
	pthread_t t;

	start();
	handle(SIGSYS, on_sys2, 0);
	handle(SIGUSR1, on_usr, 0);
	tid = syscall(SYS_gettid);
	pg = page(4096);
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return 2;
	memset(&reg, 0, sizeof(reg));
	reg.range.start = (unsigned long)pg;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(uffd, UFFDIO_REGISTER, &reg) || pthread_create(&t, 0, server, 0))
		return 2;
	if (sud(SUD_ON, 0, 0, pg))
		return 2;
	call(ODD_NR);
	if (sys_at + usr_at != 3)
		return 1;
	/* The frame of SIGSYS is the lower one and points behind the call. */
	return sys_ip != (greg_t)after || usr_ip != (greg_t)on_sys2 || usr_at != 1;
}
