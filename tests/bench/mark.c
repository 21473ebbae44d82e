/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The init of a measured boot: triggers a trace event of the host's KVM (the mark), then restarts the
 * machine. On x86-64, the mark is the event kvm_cpuid for a `cpuid` leaf that no other code reads. On
 * aarch64, the mark is the restart. With an argument (a word of the kernel's command line), the init
 * sleeps for ten seconds before the restart, so that the VMM can be inspected. The init has no C
 * library, so that only the kernel's own work is measured.
 */
#ifdef __aarch64__

__asm__(".globl _start\n_start:\n\tldr x0, [sp]\n\tbl begin\n");

enum { NANOSLEEP = 101, REBOOT = 142 };

static long call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

static void mark(void)
{
}

#else

__asm__(".globl _start\n_start:\n\tmov (%rsp), %rdi\n\tcall begin\n");

enum { NANOSLEEP = 35, REBOOT = 169 };

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static void mark(void)
{
	unsigned int leaf = 0x5ddb0001, index = 0;

	__asm__ volatile("cpuid" : "+a"(leaf), "+c"(index) : : "rbx", "rdx");
}

#endif

void begin(long argc)
{
	long ten_seconds[2] = { 10, 0 };

	mark();
	if (argc > 1)
		call(NANOSLEEP, (long)ten_seconds, 0, 0);
	/* reboot(2): magic numbers of include/uapi/linux/reboot.h. */
	call(REBOOT, 0xfee1deadL, 672274793L, 0x01234567L);
	for (;;)
		;
}
