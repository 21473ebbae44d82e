// SPDX-License-Identifier: Apache-2.0 OR MIT
// A call dispatched before the program was traced does not hide the exit stop of a later allowed
// call.
#include "common.h"

static int child(void)
{
	arm();
	blocked(ODD_NR);
	if (hits != 1 || ptrace(PTRACE_TRACEME, 0, 0, 0))
		return 2;
	raise(SIGSTOP);
	raw(ODD_NR, 0, 0, 0);
	return 0;
}

int main(void)
{
	pid_t p;
	int st, i;

	start();
	p = fork();
	if (p < 0)
		return 2;
	if (!p) {
		alarm(4);
		_exit(child());
	}
	if (waitpid(p, &st, 0) != p || !stopped_by(st, SIGSTOP))
		return 2;
	if (ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD))
		return 2;
	/* Stops come in pairs of one call: an entry with -ENOSYS preset, and an exit. */
	for (i = 0; i < 20; i++) {
		struct { unsigned char op, pad[87]; } in;

		st = resume(PTRACE_SYSCALL, p, 0);
		if (!stopped_by(st, SIGTRAP | 0x80))
			break;
		memset(&in, 0, sizeof(in));
		if (ptrace(0x420e, p, sizeof(in), &in) < 0)
			return 2;
		if (in.op != (i & 1 ? 2 : 1))
			return 1;
	}
	return i == 0 || !clean(st);
}
