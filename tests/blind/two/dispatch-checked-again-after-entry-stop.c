// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that arms its tracee at a syscall-entry stop leaves the call at hand alone. */
#include "common.h"

struct cfg { uint64_t mode, selector, offset, len; };
static int f(void)
{
	setup();
	traceme();
	raw(SYS_getuid);
	return hits != 0;
}
int main(void)
{
	struct user_regs_struct r;
	struct cfg on = { 1, 0, 0, 0 }, off = { 0, 0, 0, 0 };
	pid_t p = tracee(f);
	int st, i;

	for (i = 0; i < 20; i++) {
		if (ptrace(PTRACE_SYSCALL, p, 0, 0))
			return done(p, 2);
		st = next(p);
		if (!WIFSTOPPED(st) || WSTOPSIG(st) != (SIGTRAP | 0x80))
			return done(p, 2);
		if (ptrace(PTRACE_GETREGS, p, 0, &r))
			return done(p, 2);
		if (r.orig_rax == SYS_getuid)
			break;
	}
	if (ptrace(0x4210, p, sizeof(on), &on) || ptrace(PTRACE_SYSCALL, p, 0, 0))
		return done(p, 2);
	st = next(p);
	if (WIFSTOPPED(st) && WSTOPSIG(st) == SIGSYS)
		return done(p, 1);
	if (!WIFSTOPPED(st) || WSTOPSIG(st) != (SIGTRAP | 0x80))
		return done(p, 2);
	if (ptrace(0x4210, p, sizeof(off), &off) || ptrace(PTRACE_CONT, p, 0, 0))
		return done(p, 2);
	return verdict(next(p));
}
