// SPDX-License-Identifier: Apache-2.0 OR MIT
/* The init of a PID namespace dies of an invalid selector although it is traced. */
#include "common.h"

int main(void)
{
	int pp[2], st;
	char c;
	SETUP(!pipe(pp));
	pid_t p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
	SETUP(p >= 0);
	if (!p) {
		SETUP(syscall(SYS_getpid) == 1);
		SETUP(read(pp[0], &c, 1) == 1);
		arm();
		asm volatile("movb $5, sel(%%rip)\n\tmov $39, %%eax\n\tsyscall\n\tmovb $0, sel(%%rip)"
			     ::: "rax", "rcx", "r11", "memory");
		_exit(3);
	}
	SETUP(!ptrace(PTRACE_SEIZE, p, 0, 0));
	SETUP(write(pp[1], "x", 1) == 1);
	SETUP(waitpid(p, &st, __WALL) == p);
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS);
	return 0;
}
