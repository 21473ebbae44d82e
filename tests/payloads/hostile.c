/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Hostile programs that are booted instead of a kernel. MODE names the function that each runs.
 * They are entered by the PVH boot protocol (include/xen/interface/hvm/start_info.h,
 * docs/misc/pvh.pandoc of Xen): in protected mode without paging, with the address of the start
 * info in ebx.
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

/* Enters long mode with the first 4 GiB mapped to themselves, then calls run_mode(). */
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
	"	call	run_mode\n"
	"6:	hlt\n"
	"	jmp	6b\n"
	".popsection\n");

u64 tables[6 * 512] __attribute__((aligned(4096)));
u8 stack[16384] __attribute__((aligned(16)));

/* The address of the vsock device's registers, from the command line. */
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

static void print_text(const char *text)
{
	/* Turns off the divisor latch, loopback and interrupts, which scribbles() may have turned on. */
	out8(0x3fb, 3);
	out8(0x3fc, 0);
	out8(0x3f9, 0);
	while (*text)
		out8(0x3f8, *text++);
}

/* Pseudo-random numbers that are the same in each run (xorshift64). */
static u64 random_value(void)
{
	static u64 state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void write_register(u32 offset, u32 value)
{
	*(volatile u32 *)(device + offset) = value;
}

static u32 read_register(u32 offset)
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

/* Initializes the device with these queues, as section 3.1.1 requires. */
static void start(void)
{
	int i;

	write_register(0x70, 0);
	write_register(0x70, 1);
	write_register(0x70, 3);
	write_register(0x24, 1);
	write_register(0x20, 1);
	write_register(0x24, 0);
	write_register(0x20, 0);
	write_register(0x70, 11);
	for (i = 0; i < 3; i++) {
		write_register(0x30, i);
		write_register(0x38, SIZE);
		write_register(0x80, (u32)(u64)queues[i].descriptors);
		write_register(0x84, 0);
		write_register(0x90, (u32)(u64)queues[i].available);
		write_register(0x94, 0);
		write_register(0xa0, (u32)(u64)queues[i].used);
		write_register(0xa4, 0);
		write_register(0x44, 1);
	}
	write_register(0x70, 15);
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
	write_register(0x50, 1);
}

void faults(void)
{
	__asm__ volatile("ud2");
}

void halts(void)
{
	print_text("halting\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

void spins(void)
{
	print_text("spinning\n");
	for (;;)
		;
}

/* Jumps to an address that has neither memory nor a device. */
void wanders(void)
{
	print_text("wandering\n");
	__asm__ volatile("jmp *%0" : : "r"(0xc8000000ul));
}

void prints(void)
{
	for (;;)
		print_text("and so on, and on and on\n");
}

/*
 * Accesses every register of the device, every port below 1000h and some of the unused ports above,
 * in all widths and with random values.
 */
void scribbles(void)
{
	static u8 items[8];
	u32 i, port;

	for (port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 61) {
		u32 value = random_value();

		/* Avoids the reset command, which is sent at the end. */
		if (port >= 0x61 && port <= 0x64)
			value &= 0x7f7f7f7f;
		switch (random_value() % 8) {
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
			void *source = items;

			for (i = 0; i < sizeof(items); i++)
				items[i] = random_value() & 0x7f;
			__asm__ volatile("rep outsb"
					 : "+c"(count), "+S"(source)
					 : "d"((u16)port)
					 : "memory");
			break;
		}
		case 4: {
			u64 count = sizeof(items) / 2;
			void *destination = items;

			__asm__ volatile("rep insw"
					 : "+c"(count), "+D"(destination)
					 : "d"((u16)port)
					 : "memory");
			break;
		}
		default:
			out8(port, value);
		}
	}
	/* A string instruction must read the same port each time. */
	out8(0x3ff, 0x5a);
	{
		u64 count = 5;
		void *destination = items;

		__asm__ volatile("rep insb" : "+c"(count), "+D"(destination) : "d"((u16)0x3ff) : "memory");
	}
	for (i = 0; i < 5; i++)
		if (items[i] != 0x5a)
			faults();
	print_text("ports done\n");
	for (i = 0; i < 0x2000; i++) {
		u64 address = device + i % 0x200, value = random_value();

		switch (random_value() % 8) {
		case 0:
			*(volatile u8 *)address = value;
			break;
		case 1:
			*(volatile u16 *)address = value;
			break;
		case 2:
			*(volatile u64 *)address = value;
			break;
		case 3:
			value = *(volatile u64 *)address;
			break;
		case 4:
			value = *(volatile u8 *)address;
			break;
		case 5:
			/* A value that the device may accept. */
			write_register(i % 0x100 & ~3, value % 16);
			break;
		default:
			write_register(i % 0x100 & ~3, value);
		}
	}
	print_text("registers done\n");
	while (in8(0x64) & 2)
		;
	out8(0x64, 0xfe);
	/* Reached on a machine without an i8042. */
	faults();
}

/* Fills the rings with random values and notifies the device, without end. */
void kicks(void)
{
	print_text("kicking\n");
	for (;;) {
		int i;

		start();
		for (i = 0; i < 128; i++) {
			struct queue *queue = &queues[random_value() % 3];
			u16 *words = (u16 *)queue;

			words[random_value() % (sizeof(*queue) / 2)] = random_value();
			/* Usually makes another chain available, and points a descriptor to the queues or behind them. */
			queue->descriptors[random_value() % SIZE].address = (u64)queues + random_value() % 0x8000;
			queue->descriptors[random_value() % SIZE].length = random_value() % 0x1000;
			queue->available[1] += random_value() % 4;
			write_register(0x50, random_value() % 4);
		}
	}
}

/* Connects to the host, and reads nothing that the host sends. */
void ignores(void)
{
	start();
	send(HOST_PORT, 1);
	print_text("dialled\n");
	for (;;)
		read_register(0x70);
}

/* sudbox passes the devices on the command line only if the kernel contains this name. */
__attribute__((used)) static const char parameter[] = "virtio_mmio.device";

void run_mode(u32 info)
{
	/* struct hvm_start_info: the command line's address at offset 24. */
	const char *rest = (const char *)*(u64 *)(u64)(info + 24);

	/* `virtio_mmio.device=4K@0xc0000000:5` */
	for (; rest && *rest; rest++) {
		if (rest[0] == '@' && rest[1] == '0' && rest[2] == 'x') {
			for (rest += 3; *rest != ':' && *rest; rest++)
				device = device << 4 | ((*rest & 0xf) + (*rest > '9' ? 9 : 0));
			break;
		}
	}
	MODE();
}
