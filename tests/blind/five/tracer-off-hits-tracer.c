// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer turns the dispatch of its tracee off; the tracee is off then, and the tracer, armed
// itself, still armed.
#include "common.h"

static int child(void)
{
	return blocked(ODD_NR) != -ENOSYS || hits;
}

int main(void)
{
	struct sud_config c = { SUD_ON, (unsigned long)&sel, 0, 0 };
	pid_t p;

	start();
	p = traced(child);
	if (ptrace(SET_SUD, p, sizeof(c), &c))
		return 2;
	arm();
	memset(&c, 0, sizeof(c));
	if (ptrace(SET_SUD, p, sizeof(c), &c))
		return 1;
	if (ptrace(GET_SUD, p, sizeof(c), &c) || c.mode != SUD_OFF)
		return 1;
	if (!clean(resume(PTRACE_CONT, p, 0)))
		return 1;
	blocked(ODD_NR);
	return hits != 1;
}
