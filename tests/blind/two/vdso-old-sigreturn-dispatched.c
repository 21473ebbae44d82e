// SPDX-License-Identifier: Apache-2.0 OR MIT
/* A 32-bit program whose handler has no SA_SIGINFO returns through the vDSO with dispatch on everywhere else. */
#include "common.h"
#include <elf.h>

asm(".text\n"
    "blob: .code32\n"
    "call 1f\n"
    "1: pop %ebp\n"
    "lea handler32-1b(%ebp), %eax\n"
    "push $0\n"			/* restorer */
    "push $0\n"			/* flags */
    "push $0\n"			/* mask */
    "push %eax\n"
    "mov %esp, %ecx\n"
    "mov $31, %ebx\n"
    "xor %edx, %edx\n"
    "mov $67, %eax\n"
    "int $0x80\n"
    "test %eax, %eax\n"
    "jnz 9f\n"
    "movl $0x00c380cd, 0x08049000\n"	/* int $0x80; ret */
    "movl $0, 0x08049010\n"
    "mov $172, %eax\n"
    "mov $59, %ebx\n"
    "mov $1, %ecx\n"
    "mov $0x08048000, %edx\n"
    "mov $0x1000, %esi\n"
    "xor %edi, %edi\n"
    "int $0x80\n"
    "test %eax, %eax\n"
    "jnz 9f\n"
    "mov $20, %eax\n"
    "mov $0x08049000, %ecx\n"
    "call *%ecx\n"
    "xor %ebx, %ebx\n"
    "cmpl $1, 0x08049010\n"
    "je 8f\n"
    "mov $3, %ebx\n"
    "8: mov $1, %eax\n"
    "int $0x80\n"
    "9: mov $2, %ebx\n"
    "jmp 8b\n"
    "handler32: incl 0x08049010\n"
    "ret\n"
    "blob_end: .code64\n");
extern char blob[], blob_end[];
static char name[64];
static int f(void)
{
	char *av[] = { name, NULL };

	execve(name, av, av + 1);
	return 2;
}
int main(void)
{
	static char img[4096];
	Elf32_Ehdr *e = (void *)img;
	Elf32_Phdr *p = (void *)(e + 1);
	int len = sizeof(*e) + sizeof(*p), st, fd;

	memcpy(img + len, blob, blob_end - blob);
	memcpy(e->e_ident, ELFMAG, SELFMAG);
	e->e_ident[EI_CLASS] = ELFCLASS32;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	e->e_ident[EI_VERSION] = EV_CURRENT;
	e->e_type = ET_EXEC;
	e->e_machine = EM_386;
	e->e_version = EV_CURRENT;
	e->e_entry = 0x08048000 + len;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(*p);
	e->e_phnum = 1;
	p->p_type = PT_LOAD;
	p->p_vaddr = p->p_paddr = 0x08048000;
	p->p_filesz = len + (blob_end - blob);
	p->p_memsz = 0x2000;
	p->p_flags = PF_R | PF_W | PF_X;
	p->p_align = 4096;
	sprintf(name, "/tmp/elf32-%d", getpid());
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (fd < 0 || write(fd, img, sizeof(img)) != sizeof(img))
		return 2;
	close(fd);
	st = child(f);
	unlink(name);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 3)
		return 2;
	return verdict(st);
}
