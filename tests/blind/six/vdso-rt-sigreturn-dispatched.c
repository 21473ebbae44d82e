// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 32-bit program whose SIGSYS handler returns through the vDSO while everything is dispatched must survive.
#include "common.h"
#include <elf.h>
#define BASE "0x08048054"
asm(".data\n.globl b32, b32_end\n.code32\nb32:\n"
    "movl $174, %eax\n movl $31, %ebx\n movl $(" BASE " + b_sa - b32), %ecx\n xorl %edx, %edx\n movl $8, %esi\n int $0x80\n"
    "testl %eax, %eax\n jnz b_fail\n"
    "movl $172, %eax\n movl $59, %ebx\n movl $1, %ecx\n xorl %edx, %edx\n xorl %esi, %esi\n"
    "movl $(" BASE " + b_sel - b32), %edi\n int $0x80\n"
    "testl %eax, %eax\n jnz b_fail\n"
    "movb $1, (" BASE " + b_sel - b32)\n movl $0x777, %eax\n int $0x80\n"
    "movb $0, (" BASE " + b_sel - b32)\n"
    "xorl %ebx, %ebx\n cmpl $1, (" BASE " + b_hits - b32)\n setne %bl\n movl $1, %eax\n int $0x80\n"
    "b_fail: movl $2, %ebx\n movl $1, %eax\n int $0x80\n"
    "b_handler: incl (" BASE " + b_hits - b32)\n ret\n"
    ".balign 4\nb_hits: .long 0\nb_sel: .long 0\n"
    "b_sa: .long " BASE " + b_handler - b32, 4, 0, 0, 0\n"
    "b32_end:\n.code64\n.text\n");
extern char b32[], b32_end[];
static char name[64];
static int f(void)
{
	char *av[] = { "x", 0 }, *ev[] = { 0 };
	execve(name, av, ev);
	return 2;
}
int main(void)
{
	static char b[4096];
	Elf32_Ehdr *e = (void *)b;
	Elf32_Phdr *p = (void *)(b + sizeof(*e));
	int n = 0x54 + (b32_end - b32), fd, st;
	limit();
	memcpy(e->e_ident, ELFMAG "\1\1\1", 7);
	e->e_type = ET_EXEC;
	e->e_machine = EM_386;
	e->e_version = 1;
	e->e_entry = 0x08048054;
	e->e_phoff = sizeof(*e);
	e->e_ehsize = sizeof(*e);
	e->e_phentsize = sizeof(*p);
	e->e_phnum = 1;
	p->p_type = PT_LOAD;
	p->p_vaddr = 0x08048000;
	p->p_filesz = p->p_memsz = n;
	p->p_flags = 7;
	p->p_align = 4096;
	memcpy(b + 0x54, b32, b32_end - b32);
	sprintf(name, "/tmp/six32.%d", getpid());
	fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	if (fd < 0 || write(fd, b, n) != n)
		return 2;
	close(fd);
	st = status(spawn(f));
	unlink(name);
	return verdict(st);
}
