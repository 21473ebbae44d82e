// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 64-bit program calls into a 32-bit segment, where a call is dispatched; the frame shows that segment, and the handler returns to it.
// It jumps there and back: QEMU before 9.1 pushes the return address of a far call as the kernel would,
// which SMAP denies.
#include "common.h"

extern void far32(void *fp, void *stack);
extern char far32_back[];
asm(".text\nfar32:\n	push %rbp\n	push %rbx\n	push %r12\n	mov %rsp, far_rsp(%rip)\n"
    "	mov %rsi, %rsp\n	mov $4242, %eax\n	ljmp *(%rdi)\n"
    "far32_back:\n	mov far_rsp(%rip), %rsp\n	pop %r12\n	pop %rbx\n	pop %rbp\n	ret\n");
static unsigned long far_rsp __asm__("far_rsp") __attribute__((used));

static int test(void)
{
	struct { unsigned off; unsigned short seg; } __attribute__((packed)) fp;
	unsigned char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (m == MAP_FAILED)
		return 2;
	/* int $0x80; nop; ljmp $0x33, $far32_back */
	memcpy(m, "\xcd\x80\x90\xea\0\0\0\0\x33\0", 10);
	memcpy(m + 4, &(unsigned){ (unsigned long)far32_back }, 4);
	fp.off = (unsigned long)m;
	fp.seg = 0x23;
	handle(SIGSYS, on_sys, 0);
	if (set_sud(SUD_INCL, (unsigned long)m, 64, NULL))
		return 2;
	far32(&fp, m + (1 << 20) - 4096);
	if (hits != 1 || info.si_code != SUD_CODE)
		return 1;
	return (regs[REG_CSGSFS] & 0xffff) != 0x23 || regs[REG_RIP] != (greg_t)(m + 2);
}

int main(void)
{
	start();
	return run(test);
}
