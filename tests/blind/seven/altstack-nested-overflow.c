// SPDX-License-Identifier: Apache-2.0 OR MIT
// Dispatched calls nested in their handler fill the alternate stack; the one that does not fit must end in SIGSEGV, not below the stack.
#include "common.h"

static int depth;

static void on_deep(int s, siginfo_t *i, void *u)
{
	if (++depth >= 200)
		_exit(1);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
}

static int test(void)
{
	char *m = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = { .ss_sp = m + (4 << 20), .ss_size = 65536 };

	if (m == MAP_FAILED || sigaltstack(&ss, NULL))
		return 2;
	handle(SIGSYS, on_deep, SA_ONSTACK | SA_NODEFER);
	arm(NULL);
	sud_call(FAKE_NR, 0, 0, 0, 0, 0);
	return 2;
}

int main(void)
{
	int st;

	start();
	st = reap(child(test));
	if (WIFEXITED(st))
		return WEXITSTATUS(st);
	return WTERMSIG(st) != SIGSEGV;
}
