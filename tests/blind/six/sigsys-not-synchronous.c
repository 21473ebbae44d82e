// SPDX-License-Identifier: Apache-2.0 OR MIT
// A signal arrives while the kernel waits for the selector's page: the SIGSYS frame must still point behind the call.
#include "common.h"
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
static char *page;
static int ufd, tid;
static char src[4096] = { 1 };
static void *server(void *x)
{
	struct uffd_msg m;
	struct uffdio_copy c = { (uintptr_t)page, (uintptr_t)src, 4096, UFFDIO_COPY_MODE_DONTWAKE };
	struct uffdio_range r = { (uintptr_t)page, 4096 };
	if (read(ufd, &m, sizeof(m)) != sizeof(m))
		_exit(2);
	if (ioctl(ufd, UFFDIO_COPY, &c))
		_exit(2);
	syscall(SYS_tgkill, getpid(), tid, SIGUSR1);
	ioctl(ufd, UFFDIO_WAKE, &r);
	return 0;
}
static void usr1(int n) { }
static void allow(ucontext_t *u)
{
	page[0] = 0;
}
int main(void)
{
	struct uffdio_api api = { UFFD_API, 0 };
	struct uffdio_register reg;
	struct sigaction sa;
	pthread_t t;
	limit();
	tid = syscall(SYS_gettid);
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ufd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (ufd < 0 || ioctl(ufd, UFFDIO_API, &api))
		return 2;
	memset(&reg, 0, sizeof(reg));
	reg.range.start = (uintptr_t)page;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(ufd, UFFDIO_REGISTER, &reg))
		return 2;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = usr1;
	sigaction(SIGUSR1, &sa, 0);
	hook = allow;
	handle(SIGUSR1);
	if (pthread_create(&t, 0, server, 0))
		return 2;
	if (prctl(SUD, 1, 0, 0, page))
		return 2;
	raw(NR, 0, 0);
	if (hits != 1)
		return 1;
	return greg[REG_RIP] != (greg_t)(uintptr_t)si.si_call_addr;
}
