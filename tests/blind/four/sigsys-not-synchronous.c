// SPDX-License-Identifier: Apache-2.0 OR MIT
/* With SIGUSR1 pending at the moment of the dispatch, the frame of SIGSYS still shows the call and not the other handler. */
#include "common.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

static char *page;
static volatile pid_t tid;
static volatile int usr;
static void on_usr(int s, siginfo_t *si, void *v) { usr++; }
static void *thread(void *a)
{
	SETUP(!sud(SUD_INCL, (unsigned long)raw_ret, 1, page));
	tid = syscall(SYS_gettid);
	raw_call(MAGIC_NR);
	return 0;
}

int main(void)
{
	static char src[4096] __attribute__((aligned(4096)));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {};
	struct uffdio_copy cp = {};
	struct uffd_msg m;
	pthread_t t;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	SETUP(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	SETUP(page != MAP_FAILED);
	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	SETUP(!ioctl(fd, UFFDIO_REGISTER, &reg));
	handle(SIGSYS, on_sys, 0);
	handle(SIGUSR1, on_usr, 0);
	SETUP(!pthread_create(&t, 0, thread, 0));
	SETUP(read(fd, &m, sizeof(m)) == sizeof(m) && m.event == UFFD_EVENT_PAGEFAULT);
	src[0] = 1;
	cp.dst = (unsigned long)page;
	cp.src = (unsigned long)src;
	cp.len = 4096;
	cp.mode = UFFDIO_COPY_MODE_DONTWAKE;
	SETUP(!ioctl(fd, UFFDIO_COPY, &cp));
	/* the page is there, and the signal wakes the thread to look at it again */
	SETUP(!syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
	SETUP(!ioctl(fd, UFFDIO_WAKE, &reg.range));
	pthread_join(t, 0);
	SETUP(hits == 1 && usr == 1);
	CHECK(seen_regs[REG_RIP] == (greg_t)raw_ret);
	return 0;
}
