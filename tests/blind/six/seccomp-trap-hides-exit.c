// SPDX-License-Identifier: Apache-2.0 OR MIT
// With dispatch on but allowing, a call that seccomp traps must be reported to a tracer at entry and at exit.
#include "common.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
static int f(void)
{
	struct sock_filter i[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 },
		{ BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_getppid },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW },
	};
	struct sock_fprog p = { 4, i };
	handle(0);
	traceme();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &p))
		return 2;
	arm();
	halt();
	raw(SYS_getppid, 0, 0);
	return !(hits == 1 && si.si_code == 1);
}
int main(void)
{
	pid_t p;
	limit();
	p = spawn(f);
	await_halt(p);
	return pairs(p);
}
