// SPDX-License-Identifier: Apache-2.0 OR MIT
// A sleep that was stopped goes on as restart_syscall; dispatched, the handler can still perform
// it and sleep the rest.
#include "common.h"

static volatile unsigned char *s;
static volatile long result = 12345;
static volatile int nr;

static void on_restart(int sig, siginfo_t *si, void *uc)
{
	*s = ALLOW;
	hits++;
	nr = si->si_syscall;
	result = raw(nr, 0, 0, 0);
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_RAX] = result;
}

/* Whether the process sleeps, by its state in /proc. */
static int asleep(pid_t p)
{
	char path[64], b[512], *q;
	int fd, n;

	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	fd = open(path, O_RDONLY);
	if (fd < 0 || (n = read(fd, b, sizeof(b) - 1)) <= 0)
		_exit(2);
	close(fd);
	b[n] = 0;
	q = strrchr(b, ')');
	return q && q[2] == 'S';
}

static int child(void)
{
	struct timespec ts = { 1, 0 };

	if (sud(SUD_ON, 0, 0, s))
		return 2;
	s[1] = 1;
	result = raw(SYS_nanosleep, (long)&ts, 0, 0);
	*s = ALLOW;
	return hits != 1 || nr != SYS_restart_syscall || result != 0;
}

int main(void)
{
	int st;
	pid_t p;

	start();
	handle(SIGSYS, on_restart, 0);
	s = shared();
	p = fork();
	if (p < 0)
		return 2;
	if (!p) {
		alarm(4);
		_exit(child());
	}
	while (!s[1] || !asleep(p))
		usleep(1000);
	if (kill(p, SIGSTOP) || waitpid(p, &st, WUNTRACED) != p || !WIFSTOPPED(st))
		return 2;
	*s = BLOCK;
	if (kill(p, SIGCONT) || waitpid(p, &st, 0) != p)
		return 2;
	return !clean(st);
}
