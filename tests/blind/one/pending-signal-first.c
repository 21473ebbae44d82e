// SPDX-License-Identifier: Apache-2.0 OR MIT
// When a signal arrives while the selector is read, SIGSYS is still the one
// whose frame has the address of the call.

#include "common.h"

#include <linux/userfaultfd.h>

static int ufd, tid;
static char *page;
static volatile long usr1_ip;

static void on_usr1(int sig, siginfo_t *si, void *v)
{
	usr1_ip = ((ucontext_t *)v)->uc_mcontext.gregs[REG_RIP];
}

/* Serves the fault of the selector, after a SIGUSR1 to the thread that waits for it. */
static void *server(void *arg)
{
	static char full[4096] __attribute__((aligned(4096))) = { BLOCK };
	struct uffdio_copy copy = { (unsigned long)page, (unsigned long)full, 4096, 0 };
	struct uffd_msg msg;

	SETUP(read(ufd, &msg, sizeof(msg)) == sizeof(msg));
	SETUP(!syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
	SETUP(!ioctl(ufd, UFFDIO_COPY, &copy));
	return NULL;
}

int main(void)
{
	struct uffdio_api api = { UFFD_API, 0 };
	struct uffdio_register reg;
	struct sigaction sa;
	pthread_t t;

	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ufd = syscall(SYS_userfaultfd, 0);
	SETUP(page != MAP_FAILED && ufd >= 0 && !ioctl(ufd, UFFDIO_API, &api));
	memset(&reg, 0, sizeof(reg));
	reg.range.start = (unsigned long)page;
	reg.range.len = 4096;
	reg.mode = UFFDIO_REGISTER_MODE_MISSING;
	SETUP(!ioctl(ufd, UFFDIO_REGISTER, &reg));
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = on_usr1;
	sa.sa_flags = SA_SIGINFO;
	SETUP(!sigaction(SIGUSR1, &sa, NULL));
	install(0);
	tid = syscall(SYS_gettid);
	SETUP(!pthread_create(&t, NULL, server, NULL));
	arm(page);
	stub_call(SYS_getpid, 0, 0, 0);
	disarm();
	pthread_join(t, NULL);
	SETUP(hits == 1 && usr1_ip);
	return usr1_ip == (long)on_sigsys && seen_reg[REG_RIP] == (long)stub_ip ? 0 : 1;
}
