// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 32-bit program without a restorer returns from its SIGSYS handler through the vDSO, outside of the allowed range. The program is written out as an ELF file and executed.
#include "common.h"

#include <elf.h>

/* Loaded at 0x8048000, code at file offset 4096. Allowed: the first 256 bytes; the dispatched call is at 256. */
extern char c32[], c32_end[];
asm(".pushsection .rodata\n.code32\n.balign 16\nc32:\n"
    "	mov $174, %eax\n	mov $31, %ebx\n	mov $0x8049200, %ecx\n	xor %edx, %edx\n	mov $8, %esi\n"
    "	int $0x80\n	test %eax, %eax\n	jnz 9f\n"
    "	mov $172, %eax\n	mov $59, %ebx\n	mov $1, %ecx\n	mov $0x8049000, %edx\n	mov $0x100, %esi\n	xor %edi, %edi\n"
    "	int $0x80\n	test %eax, %eax\n	jnz 9f\n"
    "	xor %ebp, %ebp\n"
    "	jmp 2f\n"
    "1:	mov $1, %eax\n	xor %ebx, %ebx\n	int $0x80\n"
    "9:	mov $1, %eax\n	mov $2, %ebx\n	int $0x80\n"
    "	.org c32 + 0x100, 0x90\n"
    "2:	mov $4242, %eax\n	int $0x80\n"
    "	jmp 1b\n"
    "	.org c32 + 0x180, 0x90\n"
    "	ret\n"
    "	.org c32 + 0x200, 0x90\n"
    "	.long 0x8049180, 4, 0, 0, 0\n" /* handler, SA_SIGINFO, no restorer, mask */
    "c32_end:\n.code64\n.popsection\n");

static int prog(void)
{
	execl("/tmp/sud-c32", "c32", NULL);
	return 2;
}

int main(void)
{
	static char img[8192];
	Elf32_Ehdr *e = (void *)img;
	Elf32_Phdr *h = (void *)(img + sizeof(*e));
	int fd, ret;

	start();
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS32;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = EV_CURRENT;
	e->e_type = ET_EXEC;
	e->e_machine = EM_386;
	e->e_version = EV_CURRENT;
	e->e_entry = 0x8049000;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(*h);
	e->e_phnum = 1;
	h->p_type = PT_LOAD;
	h->p_vaddr = h->p_paddr = 0x8048000;
	h->p_filesz = h->p_memsz = sizeof(img);
	h->p_flags = PF_R | PF_X | PF_W;
	h->p_align = 4096;
	memcpy(img + 4096, c32, c32_end - c32);
	fd = open("/tmp/sud-c32", O_CREAT | O_TRUNC | O_WRONLY, 0755);
	if (fd < 0 || write(fd, img, sizeof(img)) != sizeof(img))
		return 2;
	close(fd);
	ret = run(prog);
	unlink("/tmp/sud-c32");
	return ret;
}
