// SPDX-License-Identifier: Apache-2.0 OR MIT
// SS_AUTODISARM disarms the alternate stack for a handler that does not run on
// it, too.

#include "common.h"

static volatile int flags_seen = -1;

static void on_sig(int sig)
{
	stack_t ss;

	SETUP(!sigaltstack(NULL, &ss));
	flags_seen = ss.ss_flags;
}

int main(void)
{
	static char sel = BLOCK, mem[65536];
	stack_t ss = { mem, (int)(1u << 31), sizeof(mem) };

	SETUP(!sigaltstack(&ss, NULL));
	signal(SIGSYS, on_sig);
	arm(&sel);
	stub_call(SYS_getpid, 0, 0, 0);
	SETUP(flags_seen != -1);
	return flags_seen == SS_DISABLE ? 0 : 1;
}
