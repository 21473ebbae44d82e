// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 32-bit program whose handler has neither SA_SIGINFO nor SA_RESTORER returns from it by the vDSO although that lies outside its allowed range. */
#include "common.h"

#include <elf.h>
/* The 32-bit program, behind its headers at 0x08048000. */
extern char blob[], blob_end[];
asm(".data\n.set B, 0x08048054\n.code32\n"
    "blob:\n"
    "\tmovl $67, %eax\n\tmovl $31, %ebx\n\tmovl $(B + act32 - blob), %ecx\n\txorl %edx, %edx\n\tint $0x80\n"
    "\ttestl %eax, %eax\n\tjnz bad\n"
    "\tmovl $172, %eax\n\tmovl $59, %ebx\n\tmovl $1, %ecx\n\tmovl $B, %edx\n\tmovl $(out32 - blob), %esi\n\txorl %edi, %edi\n\tint $0x80\n"
    "\ttestl %eax, %eax\n\tjnz bad\n"
    "\tjmp go32\n"
    "done:\n\tmovl $1, %eax\n\tmovl (B + cnt - blob), %ebx\n\tint $0x80\n"
    "bad:\n\tmovl $1, %eax\n\tmovl $2, %ebx\n\tint $0x80\n"
    "hand:\n\tmovl $77, (B + cnt - blob)\n\tret\n"
    "go32:\n\tmovl $0x7123, %eax\n\tint $0x80\n"
    "out32:\n\tjmp done\n"
    "\t.balign 4\n"
    "act32:\t.long B + hand - blob, 0, 0, 0\n"
    "cnt:\t.long 3\n"
    "blob_end:\n.code64\n.text\n");

static void child(void)
{
	static char f[4096];
	Elf32_Ehdr *e = (void *)f;
	Elf32_Phdr *p = (void *)(f + sizeof(*e));
	int n = blob_end - blob, fd;
	SETUP(sizeof(*e) + sizeof(*p) == 0x54);
	memcpy(e->e_ident, ELFMAG, 4);
	e->e_ident[4] = ELFCLASS32;
	e->e_ident[5] = ELFDATA2LSB;
	e->e_ident[6] = EV_CURRENT;
	e->e_type = ET_EXEC;
	e->e_machine = EM_386;
	e->e_version = 1;
	e->e_entry = 0x08048054;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(*p);
	e->e_phnum = 1;
	p->p_type = PT_LOAD;
	p->p_vaddr = p->p_paddr = 0x08048000;
	p->p_filesz = p->p_memsz = 0x54 + n;
	p->p_flags = PF_R | PF_W | PF_X;
	p->p_align = 4096;
	memcpy(f + 0x54, blob, n);
	fd = open("/tmp/sud-vdso32", O_WRONLY | O_CREAT | O_TRUNC, 0755);
	SETUP(fd >= 0 && write(fd, f, 0x54 + n) == 0x54 + n);
	close(fd);
	execl("/tmp/sud-vdso32", "x", NULL);
	_exit(2);
}

int main(void)
{
	int st = in_child(child);
	unlink("/tmp/sud-vdso32");
	SETUP(!WIFEXITED(st) || WEXITSTATUS(st) != 2);
	CHECK(WIFEXITED(st) && WEXITSTATUS(st) == 77);
	return 0;
}
