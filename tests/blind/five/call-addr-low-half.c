// SPDX-License-Identifier: Apache-2.0 OR MIT
// The call address of a dispatched call above four gigabytes is whole.
#include "common.h"

int main(void)
{
	static const unsigned char code[] = { 0xb8, 0x34, 0x12, 0, 0, 0x0f, 0x05, 0xc3 };
	unsigned char *p = mmap((void *)0x123400000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)0x123400000000)
		return 2;
	memcpy(p, code, sizeof(code));
	start();
	arm();
	sel = BLOCK;
	((void (*)(void))p)();
	sel = ALLOW;
	return hits != 1 || last.si_call_addr != p + 7;
}
