/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The init of a bare boot: restarts the machine at once. It has no C library, so that only the kernel's
 * own work is measured. The arguments of reboot(2) are magic numbers of include/uapi/linux/reboot.h.
 */
void _start(void)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(169L), "D"(0xfee1deadL), "S"(672274793L), "d"(0x01234567L)
			 : "rcx", "r11", "memory");
#else
	register long number __asm__("x8") = 142;
	register long first __asm__("x0") = 0xfee1deadL;
	register long second __asm__("x1") = 672274793L;
	register long third __asm__("x2") = 0x01234567L;

	__asm__ volatile("svc #0"
			 : "+r"(first)
			 : "r"(number), "r"(second), "r"(third)
			 : "memory");
#endif
	for (;;)
		;
}
