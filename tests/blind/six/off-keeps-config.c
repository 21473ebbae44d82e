// SPDX-License-Identifier: Apache-2.0 OR MIT
// After dispatch was switched off the tracer must read an empty configuration.
#include "common.h"
static int f(void)
{
	traceme();
	if (prctl(SUD, 1, 0x10000, 0x2000, &sel) || prctl(SUD, 0, 0, 0, 0))
		return 2;
	halt();
	return 0;
}
int main(void)
{
	struct sud_config c = { 9, 9, 9, 9 };
	pid_t p;
	limit();
	p = spawn(f);
	await_halt(p);
	if (ptrace(SUD_GET_CONFIG, p, sizeof(c), &c))
		end(p, 2);
	end(p, c.mode || c.selector || c.offset || c.len);
}
