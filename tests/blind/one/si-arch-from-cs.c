// SPDX-License-Identifier: Apache-2.0 OR MIT
// int $0x80 from a 64-bit program is reported with the i386 architecture.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;

	install(0);
	arm(&sel);
	stub80_call(20, 0);
	SETUP(hits == 1 && seen.si_syscall == 20);
	CHECK(seen.si_arch == AUDIT_ARCH_I386);
	stub_call(39, 0, 0, 0);
	SETUP(hits == 2 && seen.si_syscall == 39);
	CHECK(seen.si_arch == AUDIT_ARCH_X86_64);
	return 0;
}
