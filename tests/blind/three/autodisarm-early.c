// SPDX-License-Identifier: Apache-2.0 OR MIT
/* An SS_AUTODISARM stack must be armed again after each handler. */
#include "common.h"

static char alt[65536];
int main(void)
{
	stack_t s;
	int i;

	memset(&s, 0, sizeof(s));
	s.ss_sp = alt;
	s.ss_size = sizeof(alt);
	s.ss_flags = (1U << 31);
	if (sigaltstack(&s, NULL))
		return 2;
	handler(SA_ONSTACK);
	if (arm(&sel))
		return 2;
	for (i = 0; i < 2; i++)
		blk(39);
	if (hits != 2)
		return 2;
	memset(&s, 0, sizeof(s));
	if (sigaltstack(NULL, &s))
		return 2;
	return s.ss_sp == alt && s.ss_size == sizeof(alt) && uc.uc_stack.ss_sp == alt ? 0 : 1;
}
