// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * A 64-bit Windows program that makes its system calls itself, as programs do to escape monitoring.
 * It imports nothing, and reads all it needs about its process from the process environment block.
 */
typedef unsigned long long u64;
typedef unsigned int u32;

#define API __attribute__((ms_abi))

/* As in ntdll.dll: the first argument goes to r10, as the instruction takes rcx. */
#define STUB(name, number, ...)                                                                    \
	__asm__(".globl " #name "\n" #name ": mov %rcx, %r10\n mov $" #number ", %eax\n syscall\n ret\n"); \
	u32 API name(__VA_ARGS__)

STUB(wait_for, 0x04, u64 handle, u64 alertable, u64 *limit);
STUB(write_file, 0x08, u64 handle, u64 event, u64 routine, u64 context, u64 *status,
     const char *buffer, u32 length, u64 *offset, u32 *key);
STUB(allocate, 0x18, u64 process, void **base, u64 zeroes, u64 *size, u32 kind, u32 protection);
STUB(end_process, 0x2c, u64 process, u32 status);
STUB(delay, 0x34, u64 alertable, long long *interval);
STUB(protect, 0x50, u64 process, void **base, u64 *size, u32 protection, u32 *before);
STUB(end_thread, 0x53, u64 thread, u32 status);
STUB(create_thread, 0xc1, u64 *handle, u32 access, void *attributes, u64 process, void *start,
     void *argument, u32 flags, u64 zeroes, u64 stack, u64 most, void *list);
STUB(no_such_call, 0x1abc, void);

#define SELF ((u64)-1)

/* A table of pointers, so that there is something to relocate. */
static const char hello[] = "hello from C\r\n", done[] = "primes counted\r\n";
static const char *const volatile texts[] = { hello, done };
static u32 primes;

static u32 print_text(u64 output, const char *text)
{
	u64 status[2] = { 1, 1 };
	u32 length = 0, answer;

	while (text[length])
		length++;
	answer = write_file(output, 0, 0, 0, status, text, length, 0, 0);
	return answer ? answer : status[0] || status[1] != length;
}

static void API count_primes(char *sieve)
{
	for (u32 i = 2; i < 1000; i++) {
		primes += !sieve[i];
		for (u32 j = 2 * i; j < 1000; j += i)
			sieve[j] = 1;
	}
	end_thread((u64)-2, 0);
}

static u32 run(u64 output)
{
	void *base = 0;
	u64 size = 1000, thread;
	u32 before;
	long long interval = -1000;

	if (print_text(output, texts[0]))
		return 1;
	if (no_such_call() != 0xc000001c)
		return 2;
	if (allocate(SELF, &base, 0, &size, 0x3000, 4) || size != 4096)
		return 3;
	if (create_thread(&thread, 0x1fffff, 0, SELF, count_primes, base, 0, 0, 0, 0, 0))
		return 4;
	if (delay(0, &interval) || wait_for(thread, 0, 0) || primes != 168)
		return 5;
	if (protect(SELF, &base, &size, 2, &before) || before != 4)
		return 6;
	return print_text(output, texts[1]);
}

void API start(char *process)
{
	end_process(SELF, run(*(u64 *)(*(char **)(process + 0x20) + 0x28)));
}
