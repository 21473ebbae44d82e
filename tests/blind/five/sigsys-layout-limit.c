// SPDX-License-Identifier: Apache-2.0 OR MIT
// The siginfo of a dispatched call, queued once more, comes whole out of a signalfd.
#include "common.h"

#include <sys/signalfd.h>
static int fd;
static volatile int res = -1;

static void on_queue(int sig, siginfo_t *si, void *uc)
{
	struct signalfd_siginfo s;

	sel = ALLOW;
	hits++;
	if (raw(SYS_rt_sigqueueinfo, getpid(), SIGSYS, (long)si) ||
	    read(fd, &s, sizeof(s)) != sizeof(s)) {
		res = 2;
		return;
	}
	res = s.ssi_signo != SIGSYS || s.ssi_code != 2 || s.ssi_syscall != ODD_NR ||
	      s.ssi_call_addr != (unsigned long)si->si_call_addr || s.ssi_arch != 0xc000003e;
}

int main(void)
{
	sigset_t m;

	start();
	handle(SIGSYS, on_queue, 0);
	sigemptyset(&m);
	sigaddset(&m, SIGSYS);
	fd = signalfd(-1, &m, SFD_NONBLOCK);
	if (fd < 0)
		return 2;
	arm();
	blocked(ODD_NR);
	if (hits != 1 || res < 0)
		return 2;
	return res;
}
