// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A tracer that reads the siginfo of a dispatched call with the 32-bit ptrace must find si_arch. */
#include "common.h"

int main(void)
{
	unsigned *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int st;
	long r;
	pid_t p = fork();

	if (!p) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		handler(0);
		if (arm(&sel))
			_exit(2);
		blk(39);
		_exit(0);
	}
	if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st) || WSTOPSIG(st) != SIGSYS)
		return 2;
	asm volatile("push %%rbx; mov %2, %%ebx; int $0x80; pop %%rbx" : "=a"(r)
		     : "0"(26L), "r"(0x4202), "c"((long)p), "d"(0L), "S"(b)
		     : "memory", "r8", "r9", "r10", "r11");
	kill(p, SIGKILL);
	if ((int)r || b[0] != SIGSYS || b[2] != 2)
		return 2;
	return b[5] == 0xC000003Eu ? 0 : 1;
}
