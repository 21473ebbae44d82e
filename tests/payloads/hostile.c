/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Kernels that mean no good, to be booted in place of one: what each does is the function that
 * MODE names. Bare programs that are entered as PVH says (include/xen/interface/hvm/start_info.h,
 * docs/misc/pvh.pandoc of Xen): protected mode without paging, the start info's address in ebx.
 *
 *     gcc -DMODE=spins -O1 -ffreestanding -nostdlib -static -fno-pic -no-pie -mno-red-zone
 *         -mgeneral-regs-only -fcf-protection=none -fno-stack-protector -Wl,-Ttext-segment=0x200000
 *         -Wl,--build-id=none -o spins hostile.c
 *
 * Interrupts stay off, and there is no IDT: any fault is a triple fault.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

/* To long mode, with the first 4 GiB mapped to themselves; then to begin(). */
__asm__(
	".pushsection .note.Xen, \"a\", @note\n"
	"	.align	4\n"
	"	.long 4, 4, 18\n" /* XEN_ELFNOTE_PHYS32_ENTRY */
	"	.asciz \"Xen\"\n"
	"	.long _start\n"
	".popsection\n"
	".pushsection .text\n"
	".code32\n"
	".globl _start\n"
	"_start:\n"
	"	cli\n"
	"	cld\n"
	"	mov	$stack + 16384, %esp\n"
	"	mov	$tables + 0x2000, %edi\n" /* 4 page directories of 2 MiB pages */
	"	mov	$0x83, %eax\n"
	"	mov	$2048, %ecx\n"
	"1:	mov	%eax, (%edi)\n"
	"	add	$0x200000, %eax\n"
	"	add	$8, %edi\n"
	"	loop	1b\n"
	"	mov	$tables + 0x1000, %edi\n"
	"	mov	$tables + 0x2003, %eax\n"
	"	mov	$4, %ecx\n"
	"2:	mov	%eax, (%edi)\n"
	"	add	$0x1000, %eax\n"
	"	add	$8, %edi\n"
	"	loop	2b\n"
	"	movl	$tables + 0x1003, tables\n"
	"	mov	$tables, %eax\n"
	"	mov	%eax, %cr3\n"
	"	mov	%cr4, %eax\n"
	"	or	$0x20, %eax\n" /* PAE */
	"	mov	%eax, %cr4\n"
	"	mov	$0xc0000080, %ecx\n" /* EFER.LME */
	"	rdmsr\n"
	"	or	$0x100, %eax\n"
	"	wrmsr\n"
	"	mov	%cr0, %eax\n"
	"	or	$0x80000001, %eax\n" /* PG, PE */
	"	mov	%eax, %cr0\n"
	"	lgdt	3f\n"
	"	ljmp	$8, $5f\n"
	"	.align	8\n"
	"3:	.word	23\n"
	"	.long	4f\n"
	"	.align	8\n"
	"4:	.quad	0, 0x00af9b000000ffff, 0x00cf93000000ffff\n"
	".code64\n"
	"5:	mov	$16, %eax\n"
	"	mov	%eax, %ds\n"
	"	mov	%eax, %es\n"
	"	mov	%eax, %ss\n"
	"	mov	%ebx, %edi\n"
	"	call	begin\n"
	"6:	hlt\n"
	"	jmp	6b\n"
	".popsection\n");

u64 tables[6 * 512] __attribute__((aligned(4096)));
u8 stack[16384] __attribute__((aligned(16)));

/* Where the vsock device's registers are, from the command line. */
static u64 device;

static void out8(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static u8 in8(u16 port)
{
	u8 value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void say(const char *text)
{
	/* No divisor latch, no loopback, no interrupts, whatever was written before. */
	out8(0x3fb, 3);
	out8(0x3fc, 0);
	out8(0x3f9, 0);
	while (*text)
		out8(0x3f8, *text++);
}

/* Pseudo-random numbers that are the same in each run (xorshift64). */
static u64 any(void)
{
	static u64 state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void set(u32 offset, u32 value)
{
	*(volatile u32 *)(device + offset) = value;
}

static u32 get(u32 offset)
{
	return *(volatile u32 *)(device + offset);
}

/* virtio 1.2, section 2.7. Three queues: receive, transmit, event. */
#define SIZE 16

struct descriptor {
	u64 address;
	u32 length;
	u16 flags, next;
};

static struct queue {
	struct descriptor descriptors[SIZE];
	u16 available[2 + SIZE + 1];
	u16 used[2 + 4 * SIZE + 1] __attribute__((aligned(4)));
} __attribute__((aligned(16))) queues[3];

/* Sets the device up as it should be (section 3.1.1), with these queues. */
static void start(void)
{
	int i;

	set(0x70, 0);
	set(0x70, 1);
	set(0x70, 3);
	set(0x24, 1);
	set(0x20, 1);
	set(0x24, 0);
	set(0x20, 0);
	set(0x70, 11);
	for (i = 0; i < 3; i++) {
		set(0x30, i);
		set(0x38, SIZE);
		set(0x80, (u32)(u64)queues[i].descriptors);
		set(0x84, 0);
		set(0x90, (u32)(u64)queues[i].available);
		set(0x94, 0);
		set(0xa0, (u32)(u64)queues[i].used);
		set(0xa4, 0);
		set(0x44, 1);
	}
	set(0x70, 15);
}

/* Sends a packet of the vsock device to the host (section 5.10.6). */
static void send(u32 host_port, u16 op)
{
	static struct {
		u64 source, destination;
		u32 source_port, destination_port, length;
		u16 type, op;
		u32 flags, buffer, forwarded;
	} __attribute__((packed)) packet;
	struct queue *queue = &queues[1];
	volatile u16 *available = queue->available;

	packet.source = 3;
	packet.destination = 2;
	packet.source_port = 1234;
	packet.destination_port = host_port;
	packet.type = 1;
	packet.op = op;
	packet.buffer = 1 << 20;
	queue->descriptors[0].address = (u64)&packet;
	queue->descriptors[0].length = sizeof(packet);
	available[2 + available[1] % SIZE] = 0;
	__asm__ volatile("mfence" : : : "memory");
	available[1]++;
	set(0x50, 1);
}

void faults(void)
{
	__asm__ volatile("ud2");
}

void halts(void)
{
	say("halting\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

void spins(void)
{
	say("spinning\n");
	for (;;)
		;
}

/* To where there is neither memory nor a device. */
void wanders(void)
{
	say("wandering\n");
	__asm__ volatile("jmp *%0" : : "r"(0xc8000000ul));
}

void prints(void)
{
	for (;;)
		say("and so on, and on and on\n");
}

/*
 * Every register of the device and every port below 1000h, and some of the empty ones above, in all
 * widths and with any values.
 */
void scribbles(void)
{
	static u8 items[8];
	u32 i, port;

	for (port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 61) {
		u32 value = any();

		/* Not the reset, which comes at the end. */
		if (port >= 0x61 && port <= 0x64)
			value &= 0x7f7f7f7f;
		switch (any() % 8) {
		case 0:
			__asm__ volatile("outl %0, %1" : : "a"(value), "d"((u16)port));
			break;
		case 1:
			__asm__ volatile("outw %w0, %1" : : "a"(value), "d"((u16)port));
			break;
		case 2:
			__asm__ volatile("inl %1, %0" : "=a"(value) : "d"((u16)port));
			break;
		case 3: {
			u64 count = sizeof(items);
			void *from = items;

			for (i = 0; i < sizeof(items); i++)
				items[i] = any() & 0x7f;
			__asm__ volatile("rep outsb"
					 : "+c"(count), "+S"(from)
					 : "d"((u16)port)
					 : "memory");
			break;
		}
		case 4: {
			u64 count = sizeof(items) / 2;
			void *to = items;

			__asm__ volatile("rep insw"
					 : "+c"(count), "+D"(to)
					 : "d"((u16)port)
					 : "memory");
			break;
		}
		default:
			out8(port, value);
		}
	}
	/* A string instruction reads one port many times. */
	out8(0x3ff, 0x5a);
	{
		u64 count = 5;
		void *to = items;

		__asm__ volatile("rep insb" : "+c"(count), "+D"(to) : "d"((u16)0x3ff) : "memory");
	}
	for (i = 0; i < 5; i++)
		if (items[i] != 0x5a)
			faults();
	say("ports done\n");
	for (i = 0; i < 0x2000; i++) {
		u64 where = device + i % 0x200, value = any();

		switch (any() % 8) {
		case 0:
			*(volatile u8 *)where = value;
			break;
		case 1:
			*(volatile u16 *)where = value;
			break;
		case 2:
			*(volatile u64 *)where = value;
			break;
		case 3:
			value = *(volatile u64 *)where;
			break;
		case 4:
			value = *(volatile u8 *)where;
			break;
		case 5:
			/* A value that could be right. */
			set(i % 0x100 & ~3, value % 16);
			break;
		default:
			set(i % 0x100 & ~3, value);
		}
	}
	say("registers done\n");
	while (in8(0x64) & 2)
		;
	out8(0x64, 0xfe);
	/* Where there is no i8042. */
	faults();
}

/* Rings full of anything, and the device is told to look, without end. */
void kicks(void)
{
	say("kicking\n");
	for (;;) {
		int i;

		start();
		for (i = 0; i < 128; i++) {
			struct queue *queue = &queues[any() % 3];
			u16 *bytes = (u16 *)queue;

			bytes[any() % (sizeof(*queue) / 2)] = any();
			/* Mostly a chain more, with a descriptor that leads somewhere. */
			queue->descriptors[any() % SIZE].address = (u64)queues + any() % 0x8000;
			queue->descriptors[any() % SIZE].length = any() % 0x1000;
			queue->available[1] += any() % 4;
			set(0x50, any() % 4);
		}
	}
}

/* Dials the host, and takes nothing that it sends. */
void ignores(void)
{
	start();
	send(HOST_PORT, 1);
	say("dialled\n");
	for (;;)
		get(0x70);
}

/* By its name, which a kernel that takes it contains, sudbox knows that it is told its devices. */
__attribute__((used)) static const char parameter[] = "virtio_mmio.device";

void begin(u32 info)
{
	/* struct hvm_start_info: the command line's address at offset 24. */
	const char *word = (const char *)*(u64 *)(u64)(info + 24);

	/* `virtio_mmio.device=4K@0xc0000000:5` */
	for (; word && *word; word++) {
		if (word[0] == '@' && word[1] == '0' && word[2] == 'x') {
			for (word += 3; *word != ':' && *word; word++)
				device = device << 4 | ((*word & 0xf) + (*word > '9' ? 9 : 0));
			break;
		}
	}
	MODE();
}
