// SPDX-License-Identifier: Apache-2.0 OR MIT
// si_call_addr holds an address above 4 GB.

#include "common.h"

int main(void)
{
	static char sel = BLOCK;
	char *page = mmap((void *)0x7000000000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	SETUP(page != MAP_FAILED && (unsigned long)page >> 32);
	memcpy(page, stub_begin, stub_end - stub_begin);
	install(0);
	SETUP(!prctl(SUD, INCLUSIVE, page, 4096, &sel));
	((long (*)(long, long, long, long))page)(SYS_getpid, 0, 0, 0);
	SETUP(hits == 1);
	return (char *)seen.si_call_addr == page + (stub_ip - stub_begin) ? 0 : 1;
}
