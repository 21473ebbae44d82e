// SPDX-License-Identifier: Apache-2.0 OR MIT
// A signal arrives while the selector of a call is read (the read waits for a userfaultfd). The SIGSYS frame must show the call, not the handler of that signal, as interrupted.
#include "common.h"

#include <linux/userfaultfd.h>

static unsigned char *page;
static volatile int tid, usr;

static void on_usr(int s)
{
	usr = 1;
}

static void *caller(void *arg)
{
	tid = syscall(SYS_gettid);
	arm(page);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return NULL;
}

int main(void)
{
	static unsigned char src[4096] __attribute__((aligned(4096)));
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { 0 };
	struct uffdio_copy copy = { 0 };
	struct uffd_msg msg;
	pthread_t t;
	int fd;

	start();
	fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || page == MAP_FAILED || ioctl(fd, UFFDIO_API, &api))
		return 2;
	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return 2;
	handle(SIGSYS, on_sys, 0);
	signal(SIGUSR1, on_usr);
	if (pthread_create(&t, NULL, caller, NULL))
		return 2;
	if (read(fd, &msg, sizeof(msg)) != sizeof(msg) || msg.event != UFFD_EVENT_PAGEFAULT)
		return 2;
	if (syscall(SYS_tgkill, getpid(), tid, SIGUSR1))
		return 2;
	src[0] = 1;
	copy.dst = (unsigned long)page;
	copy.src = (unsigned long)src;
	copy.len = 4096;
	if (ioctl(fd, UFFDIO_COPY, &copy))
		return 2;
	pthread_join(t, NULL);
	if (hits != 1 || !usr)
		return 1;
	return regs[REG_RIP] != (greg_t)sud_ret;
}
