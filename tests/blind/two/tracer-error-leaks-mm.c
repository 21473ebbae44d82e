// SPDX-License-Identifier: Apache-2.0 OR MIT
/* After a refused ptrace request the memory of the tracee goes away with it: its shared writable mapping no longer keeps a memfd from being sealed. */
#include "common.h"

struct cfg { uint64_t mode, selector, offset, len; };
static int fd;
static int f(void)
{
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		return 2;
	traceme();
	return 0;
}
int main(void)
{
	struct cfg c = { 1, -4096UL, 0, 0 };
	pid_t p;

	fd = memfd_create("x", MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, 4096))
		return 2;
	p = tracee(f);
	if (ptrace(0x4210, p, sizeof(c), &c) != -1 || errno != EFAULT)
		return done(p, 2);
	done(p, 0);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		return errno == EBUSY ? 1 : 2;
	return 0;
}
