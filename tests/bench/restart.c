/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * The init of a bare boot: restarts at once. Without a C library, so that nothing but the kernel's
 * own work is measured. reboot(2): magic numbers of include/uapi/linux/reboot.h.
 */
void _start(void)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(169L), "D"(0xfee1deadL), "S"(672274793L), "d"(0x01234567L)
			 : "rcx", "r11", "memory");
	for (;;)
		;
}
