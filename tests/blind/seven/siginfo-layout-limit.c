// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tracer which asks through int $0x80 finds the architecture in the siginfo of a dispatched call.
#include "common.h"

static unsigned si32[32];

static int test(void)
{
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return 0;
}

int main(void)
{
	pid_t p;

	start();
	p = tracee(test);
	if (!stopped(resume(p, PTRACE_CONT, 0), SIGSYS))
		return 2;
	if (sud_int(26, 0x4202, p, 0, (long)si32, 0))
		return 2;
	return si32[0] != SIGSYS || si32[2] != SUD_CODE || si32[3] != (unsigned)(long)sud_ret ||
	       si32[4] != FAKE_NR || si32[5] != 0xc000003e;
}
