// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A dispatched call with a uprobe on its instruction must still raise SIGSYS. */
#include "common.h"

#include <linux/perf_event.h>
long probed(volatile unsigned char *s);
extern char probed_insn[];
asm(".globl probed, probed_insn\nprobed:\n movb $1, (%rdi)\n mov $39, %eax\n"
    "probed_insn:\n syscall\n movb $0, (%rdi)\n ret\n");
int main(void)
{
	char path[512], b[64];
	struct perf_event_attr a;
	unsigned long off = 0;
	int fd, n, i;
	Elf64_Ehdr e;
	Elf64_Phdr ph;

	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		return 2;
	path[n] = 0;
	fd = open("/proc/self/exe", O_RDONLY);
	if (fd < 0 || read(fd, &e, sizeof(e)) != sizeof(e))
		return 2;
	for (i = 0; i < e.e_phnum; i++) {
		pread(fd, &ph, sizeof(ph), e.e_phoff + i * sizeof(ph));
		if (ph.p_type == PT_LOAD && (unsigned long)probed_insn >= ph.p_vaddr &&
		    (unsigned long)probed_insn < ph.p_vaddr + ph.p_filesz)
			off = (unsigned long)probed_insn - ph.p_vaddr + ph.p_offset;
	}
	close(fd);
	fd = open("/sys/bus/event_source/devices/uprobe/type", O_RDONLY);
	if (fd < 0 || !off || (n = read(fd, b, sizeof(b) - 1)) < 1)
		return 2;
	b[n] = 0;
	memset(&a, 0, sizeof(a));
	a.size = sizeof(a);
	a.type = atoi(b);
	a.config1 = (unsigned long)path;
	a.config2 = off;
	fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	if (fd < 0)
		return 2;
	if (*(unsigned char *)probed_insn != 0xcc)
		return 2;
	handler(0);
	if (arm(&sel))
		return 2;
	probed(&sel);
	i = hits;
	return i == 1 ? 0 : 1;
}
