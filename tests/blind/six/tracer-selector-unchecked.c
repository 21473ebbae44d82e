// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer must not be able to set a selector in kernel memory.
#include "common.h"
static int f(void)
{
	traceme();
	halt();
	return 0;
}
int main(void)
{
	struct sud_config c = { 1, 0xffff888000001000UL, 0, 0 };
	pid_t p;
	long r;
	limit();
	p = spawn(f);
	await_halt(p);
	errno = 0;
	r = ptrace(SUD_SET_CONFIG, p, sizeof(c), &c);
	end(p, !(r == -1 && errno == EFAULT));
}
