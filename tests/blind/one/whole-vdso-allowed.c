// SPDX-License-Identifier: Apache-2.0 OR MIT
// A system call that the vDSO falls back to is dispatched like any other.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
	struct timespec ts;

	SETUP(vdso);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	answer = 0;
	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, vdso, 0x2000, &sel));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	disarm();
	return hits == 1 ? 0 : 1;
}
