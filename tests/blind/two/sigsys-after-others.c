// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With another signal pending the SIGSYS frame shows the place of the dispatched call. The selector is on a page that userfaultfd withholds, to have the other signal arrive in time. */
#include "common.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

static volatile char *page;
static volatile pid_t tid;
static volatile int over, usr;
static void h(int sig, siginfo_t *si, void *uc)
{
	*page = 0;
	hits++;
	gi = *si;
	memcpy(gr, ((ucontext_t *)uc)->uc_mcontext.gregs, sizeof(gr));
}
static void u(int sig)
{
	*page = 0;
	usr++;
}
static void *t(void *a)
{
	tid = syscall(SYS_gettid);
	if (sud(1, 0, 0, page))
		_exit(2);
	raw(SYS_getpid);
	over = 1;
	return NULL;
}
int main(void)
{
	static char src[8192] __attribute__((aligned(4096)));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { 0 };
	struct uffdio_copy cp = { 0 };
	struct uffd_msg msg;
	struct sigaction sa = { .sa_sigaction = h, .sa_flags = SA_SIGINFO };
	pthread_t th;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api))
		return 2;
	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return 2;
	sigaction(SIGSYS, &sa, NULL);
	signal(SIGUSR1, u);
	if (pthread_create(&th, NULL, t, NULL))
		return 2;
	if (read(fd, &msg, sizeof(msg)) != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
		return 2;
	syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	src[0] = 1;
	cp.dst = (unsigned long)page;
	cp.src = (unsigned long)src;
	cp.len = 4096;
	if (ioctl(fd, UFFDIO_COPY, &cp))
		return 2;
	while (!over)
		usleep(1000);
	if (hits != 1 || usr != 1)
		return 2;
	return (unsigned long)gi.si_call_addr != gr[REG_RIP];
}
