// SPDX-License-Identifier: Apache-2.0 OR MIT
// A 32-bit program (written by this one) whose handler returns through the vDSO while the selector
// says BLOCK.
#include "common.h"

extern char code32[], code32_end[];
/* Runs at 0x08048054, behind the two headers. */
asm (".pushsection .text\n"
     ".code32\n"
     ".set at, 0x08048054\n"
     "code32:\n"
     "mov $174, %eax\n"			/* rt_sigaction(SIGSYS, act, 0, 8) */
     "mov $31, %ebx\n"
     "mov $(act32 - code32 + at), %ecx\n"
     "xor %edx, %edx\n"
     "mov $8, %esi\n"
     "int $0x80\n"
     "mov $2, %ebx\n"
     "test %eax, %eax\n"
     "jnz 9f\n"
     "mov $172, %eax\n"			/* prctl(59, 1, 0, 0, sel) */
     "mov $59, %ebx\n"
     "mov $1, %ecx\n"
     "xor %edx, %edx\n"
     "xor %esi, %esi\n"
     "mov $(sel32 - code32 + at), %edi\n"
     "int $0x80\n"
     "mov $2, %ebx\n"
     "test %eax, %eax\n"
     "jnz 9f\n"
     "movb $1, (sel32 - code32 + at)\n"
     "mov $0x1234, %eax\n"
     "int $0x80\n"
     "movb $0, (sel32 - code32 + at)\n"
     "xor %ebx, %ebx\n"
     "cmpb $1, (hit32 - code32 + at)\n"
     "je 9f\n"
     "mov $3, %ebx\n"
     "9: mov $1, %eax\n"			/* exit */
     "int $0x80\n"
     "handler32:\n"
     "incb (hit32 - code32 + at)\n"
     "ret\n"
     ".balign 4\n"
     "act32: .long handler32 - code32 + at, 4, 0, 0, 0\n"	/* SA_SIGINFO */
     "sel32: .byte 0\n"
     "hit32: .byte 0\n"
     "code32_end:\n"
     ".code64\n"
     ".popsection\n");

static const char file[] = "/tmp/vdso-rt-sigreturn-dispatched.bin";

static int child(void)
{
	char *argv[] = { "x", 0 };

	execve(file, argv, 0);
	return 4;
}

int main(void)
{
	static struct { Elf32_Ehdr e; Elf32_Phdr p; } h;
	int fd, st, len = code32_end - code32;

	if (sizeof(h) != 0x54)
		return 2;
	memcpy(h.e.e_ident, "\177ELF\1\1\1", 7);
	h.e.e_type = ET_EXEC;
	h.e.e_machine = EM_386;
	h.e.e_version = 1;
	h.e.e_entry = 0x08048054;
	h.e.e_phoff = sizeof(h.e);
	h.e.e_ehsize = sizeof(h.e);
	h.e.e_phentsize = sizeof(h.p);
	h.e.e_phnum = 1;
	h.p.p_type = PT_LOAD;
	h.p.p_vaddr = h.p.p_paddr = 0x08048000;
	h.p.p_filesz = h.p.p_memsz = sizeof(h) + len;
	h.p.p_flags = PF_R | PF_W | PF_X;
	h.p.p_align = 4096;
	fd = open(file, O_CREAT | O_TRUNC | O_WRONLY, 0755);
	if (fd < 0 || write(fd, &h, sizeof(h)) != sizeof(h) || write(fd, code32, len) != len || close(fd))
		return 2;
	start();
	st = in_child(child);
	unlink(file);
	if (WIFEXITED(st))
		return WEXITSTATUS(st) ? 2 : 0;
	return 1;
}
