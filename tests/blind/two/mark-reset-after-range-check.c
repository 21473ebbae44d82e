// SPDX-License-Identifier: Apache-2.0 OR MIT
/* After a dispatched call a tracer sees entry and exit of the calls made from the allowed range. */
#include "common.h"

static int f(void)
{
	unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || (unsigned long)f > 0x40000000)
		return 2;
	memcpy(p, "\x89\xf8\x0f\x05\xc3", 5);
	setup();
	traceme();
	if (sud(1, 1, 0x40000000, NULL))
		return 2;
	((long (*)(int))p)(SYS_getpid);
	raw(SYS_getuid);
	return hits != 1;
}
int main(void)
{
	struct user_regs_struct r;
	pid_t p = tracee(f);
	int st, i, n = 0, sig = 0;

	for (i = 0; i < 50; i++) {
		if (ptrace(PTRACE_SYSCALL, p, 0, sig))
			return done(p, 2);
		st = next(p);
		if (WIFEXITED(st)) {
			if (WEXITSTATUS(st))
				return 2;
			return n != 2;
		}
		sig = 0;
		if (!WIFSTOPPED(st))
			return 2;
		if (WSTOPSIG(st) != (SIGTRAP | 0x80)) {
			sig = WSTOPSIG(st);
			continue;
		}
		if (ptrace(PTRACE_GETREGS, p, 0, &r))
			return done(p, 2);
		if (r.orig_rax == SYS_getuid)
			n++;
	}
	return done(p, 2);
}
