// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The payload: the code that the probe's vCPU runs.
//!
//! The payload performs operations that every kernel performs. After each successful step, the
//! payload writes a letter to [`LETTER_PORT`]. On an error, the payload writes the report page, then
//! [`STOP_LETTER`] to the port; the host can read the report even if the write to the port fails.
//! Each of the 256 vectors has a gate, so every fault is reported instead of becoming a triple
//! fault.

use std::arch::{asm, global_asm};
use std::fmt::Write as _;
use std::mem::offset_of;
use std::time::{Duration, Instant};

use vm_memory::{ByteValued, Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::memory::{
    self, KERNEL_CODE, KERNEL_STACK, KERNEL_TEXT, MAPPED_PAGE, REPORT_PAGE, UNMAPPED_ADDRESS,
    UNMAPPED_ENTRY, USER_CODE, USER_CODE_32, USER_DATA, USER_STACK, USER_TEXT, VECTOR_ENTRY_SIZE,
};
use crate::kvm::x86_64::layout::LOCAL_APIC;
use crate::probe::test_vm::judge::PayloadReport;
use crate::probe::test_vm::{PATTERN_AFTER, PATTERN_BEFORE, STOP_LETTER};

/// I/O port for the letters.
pub(super) const LETTER_PORT: u16 = 0xe9;

/// Vector of the local APIC timer.
const TIMER_VECTOR: u8 = 0x40;

/// First period of the timer in nanoseconds, which KVM's APIC counts (`APIC_BUS_CYCLE_NS_DEFAULT`).
const TIMER_COUNT: u32 = 100_000;

/// Further periods of the timer in nanoseconds. QEMU's emulated SVM (7.2) sometimes ignores the
/// interrupt shadow of `sti`: the first interrupt then arrives before `hlt` and does not wake the
/// vCPU. Further interrupts do, like those of a kernel's timer.
const TIMER_NEXT_COUNT: u32 = 5_000_000;

/// Iterations of the timed loop.
const LOOP_ITERATIONS: u32 = 2000;
/// Number of runs of the timed loop, of which the fastest counts.
const LOOP_RUNS: u32 = 4;

/// Value of the MSR `GS_BASE` before `swapgs`.
const GS_BASE_VALUE: u32 = 0x1111_0000;
/// Value of the MSR `KERNEL_GS_BASE` before `swapgs`.
const KERNEL_GS_BASE_VALUE: u32 = 0x2222_0000;

// Values of `Report::kind`.
const FAULT: u32 = 1;
const WRONG: u32 = 2;

// Numbers of wrong results in `Report::number`; see `WRONG_RESULTS`.
const BAD_RING: u32 = 0;
const BAD_MSR: u32 = 1;
const BAD_SYSCALL_RING: u32 = 2;
const BAD_RETURN: u32 = 3;
const BAD_MASK: u32 = 4;
const BAD_GS: u32 = 5;
const BAD_STACK: u32 = 6;
const BAD_CPUID: u32 = 7;
const BAD_TSC: u32 = 8;
const BAD_CR2: u32 = 9;
const BAD_ERROR: u32 = 10;
const BAD_PAGE: u32 = 11;

/// Texts for wrong results, by number.
const WRONG_RESULTS: [&str; 12] = [
    "the first instruction does not run in ring 0: cs",
    "an MSR does not keep the written value: LSTAR",
    "syscall does not lead to ring 0: cs",
    "syscall does not save the return address: rcx",
    "syscall does not mask the flags: rflags",
    "swapgs does not swap the bases of GS: GS_BASE",
    "a fault in ring 3 does not switch to the stack of the TSS: rsp",
    "cpuid does not announce 64-bit mode: edx of leaf 80000001h",
    "the time stamp counter does not advance: difference",
    "a page fault reports a wrong address: cr2",
    "a page fault reports a wrong reason: error code",
    "the new page has wrong contents: value",
];

/// The report page, which the payload writes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Report {
    /// [`FAULT`] or [`WRONG`]; 0 if neither occurred.
    kind: u64,
    /// Vector of a fault, or number of a wrong result.
    number: u64,
    /// Error code of a fault, or the wrong value.
    value: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
    cr2: u64,
    /// 1 after an interrupt of the timer.
    timer: u64,
    /// Ticks that the timed loop took in ring 3.
    ticks: u64,
}

// SAFETY: The fields are integers of one size, so the structure has no padding, and every value is
// valid.
unsafe impl ByteValued for Report {}

impl Report {
    /// Describes the fault. Names PVM if the fault was in code of ring 0 that ran in ring 3, as only
    /// PVM hypervisors were observed to run it.
    fn fault(&self) -> String {
        let Report { number, value, rip, cs, cr2, .. } = self;
        let mut text = format!("(vector {number}, error code {value:X}h, rip {rip:X}h, cs {cs:X}h");
        if *number == 14 {
            let _ = write!(text, ", cr2 {cr2:X}h");
        }
        text.push(')');
        if (KERNEL_TEXT..USER_TEXT).contains(rip) && cs & 3 == 3 {
            text.push_str("; ring 0 of the guest runs in ring 3, as on a PVM hypervisor");
        }
        text
    }
}

/// The timed loop, for ring 3 and the host: counts ecx down to 0.
macro_rules! timed_loop {
    () => {
        "2: decl %ecx; jnz 2b"
    };
}

global_asm!(
    // The host never executes this section.
    ".pushsection .rodata.sudbox_probe, \"a\", @progbits",
    ".balign 16",
    ".globl sudbox_probe_kernel, sudbox_probe_kernel_end, sudbox_probe_entry",
    ".globl sudbox_probe_invalid_opcode, sudbox_probe_page_fault, sudbox_probe_timer",
    ".globl sudbox_probe_user, sudbox_probe_user_end",
    ".hidden sudbox_probe_kernel, sudbox_probe_kernel_end, sudbox_probe_entry",
    ".hidden sudbox_probe_invalid_opcode, sudbox_probe_page_fault, sudbox_probe_timer",
    ".hidden sudbox_probe_user, sudbox_probe_user_end",
    "sudbox_probe_kernel:",
    ".Lvectors:",

    // Entry points of the vectors: push error code (0 for vectors without one) and vector.
    ".set .Lvector, 0",
    ".rept 256",
    ".balign {VECTOR_ENTRY_SIZE}",
    ".if (.Lvector != 8) && (.Lvector < 10 || .Lvector > 14) && (.Lvector != 17) && (.Lvector != 21) && (.Lvector != 29) && (.Lvector != 30)",
    "pushq $0",
    ".endif",
    "pushq $.Lvector",
    "jmp .Lunexpected",
    ".set .Lvector, .Lvector + 1",
    ".endr",

    ".Lunexpected:",
    "cmpq $0, {REPORT_PAGE}",
    "jne .Lstop", // Only the first fault is reported.
    "movq ${FAULT}, {REPORT_PAGE} + {kind}",
    "popq {REPORT_PAGE} + {number}",
    "popq {REPORT_PAGE} + {value}",
    "popq {REPORT_PAGE} + {rip}",
    "popq {REPORT_PAGE} + {cs}",
    "popq {REPORT_PAGE} + {rflags}",
    "popq {REPORT_PAGE} + {rsp}",
    "popq {REPORT_PAGE} + {ss}",
    "movq %cr2, %rax",
    "movq %rax, {REPORT_PAGE} + {cr2}",
    "jmp .Lstop",

    // edi: number of the wrong result; rsi: its value.
    ".Lwrong:",
    "cmpq $0, {REPORT_PAGE}",
    "jne .Lstop",
    "movq %rdi, {REPORT_PAGE} + {number}",
    "movq %rsi, {REPORT_PAGE} + {value}",
    "movq ${WRONG}, {REPORT_PAGE} + {kind}",
    ".Lstop:",
    "movb ${STOP_LETTER}, %al",
    "outb %al, ${LETTER_PORT}",
    "cli",
    "3: hlt",
    "jmp 3b",

    // A: ring 0.
    "sudbox_probe_entry:",
    "xorl %esi, %esi",
    "movw %cs, %si",
    "movl ${BAD_RING}, %edi",
    "cmpl ${KERNEL_CODE}, %esi",
    "jne .Lwrong",
    "movb $'A', %al",
    "outb %al, ${LETTER_PORT}",

    // B: the MSRs of syscall and of swapgs.
    "movl $0xc0000081, %ecx", // STAR
    "xorl %eax, %eax",
    "movl ${USER_CODE_32} << 16 | {KERNEL_CODE}, %edx",
    "wrmsr",
    "movl $0xc0000082, %ecx", // LSTAR
    "movl $(.Lsyscall - sudbox_probe_kernel + {KERNEL_TEXT}), %eax",
    "xorl %edx, %edx",
    "wrmsr",
    "movl $0xc0000084, %ecx", // SFMASK: trap, interrupt and direction flags
    "movl $0x700, %eax",
    "wrmsr",
    "movl $0xc0000101, %ecx", // GS_BASE
    "movl ${GS_BASE_VALUE}, %eax",
    "wrmsr",
    "movl $0xc0000102, %ecx", // KERNEL_GS_BASE
    "movl ${KERNEL_GS_BASE_VALUE}, %eax",
    "wrmsr",
    "movl $0xc0000082, %ecx",
    "rdmsr",
    "movl %eax, %esi",
    "movl ${BAD_MSR}, %edi",
    "cmpl $(.Lsyscall - sudbox_probe_kernel + {KERNEL_TEXT}), %eax",
    "jne .Lwrong",
    "movb $'B', %al",
    "outb %al, ${LETTER_PORT}",

    // C: to ring 3 with interrupts on, and back by syscall.
    "pushq ${USER_DATA}",
    "pushq ${USER_STACK}",
    "pushq $0x202", // rflags: IF, and bit 1, which is always set.
    "pushq ${USER_CODE}",
    "pushq ${USER_TEXT}",
    "iretq",

    ".Lsyscall:",
    "xorl %esi, %esi",
    "movw %cs, %si",
    "movl ${BAD_SYSCALL_RING}, %edi",
    "cmpl ${KERNEL_CODE}, %esi",
    "jne .Lwrong",
    "movq %rcx, %rsi",
    "movl ${BAD_RETURN}, %edi",
    "cmpq $(.Lback - sudbox_probe_user + {USER_TEXT}), %rcx",
    "jne .Lwrong",
    "pushfq",
    "popq %rsi",
    "movl ${BAD_MASK}, %edi",
    "testl $0x700, %esi",
    "jnz .Lwrong",
    "movq %rbx, {REPORT_PAGE} + {ticks}",
    "movb $'C', %al",
    "outb %al, ${LETTER_PORT}",

    // D: swapgs both ways, sysret, and an exception in ring 3, which takes its stack from the TSS.
    "movq %rcx, %rbx",
    "swapgs",
    "movl $0xc0000101, %ecx",
    "rdmsr",
    "movl %eax, %esi",
    "movl ${BAD_GS}, %edi",
    "cmpl ${KERNEL_GS_BASE_VALUE}, %eax",
    "jne .Lwrong",
    "swapgs",
    "rdmsr",
    "movl %eax, %esi",
    "cmpl ${GS_BASE_VALUE}, %eax",
    "jne .Lwrong",
    "movq %rbx, %rcx",
    "sysretq",

    "sudbox_probe_invalid_opcode:",
    "cmpq $(.Lback - sudbox_probe_user + {USER_TEXT}), (%rsp)",
    "jne .Lvectors + {VECTOR_ENTRY_SIZE} * 6",
    "cmpq ${USER_CODE}, 8(%rsp)",
    "jne .Lvectors + {VECTOR_ENTRY_SIZE} * 6",
    "movq %rsp, %rsi",
    "movl ${BAD_STACK}, %edi",
    "cmpq ${KERNEL_STACK} - 40, %rsp",
    "jne .Lwrong",
    "movb $'D', %al",
    "outb %al, ${LETTER_PORT}",

    // E: mov to cr3, invlpg, cpuid, rdtsc.
    "movq %cr3, %rax",
    "movq %rax, %cr3",
    "invlpg {USER_STACK} - 8",
    "movl $0x80000001, %eax",
    "cpuid",
    "movl %edx, %esi",
    "movl ${BAD_CPUID}, %edi",
    "btl $29, %edx",
    "jnc .Lwrong",
    "rdtsc",
    "movl %eax, %ebx",
    "movl $100, %ecx",
    timed_loop!(),
    "rdtsc",
    "subl %ebx, %eax",
    "movl %eax, %esi",
    "movl ${BAD_TSC}, %edi",
    "jz .Lwrong",
    "movb $'E', %al",
    "outb %al, ${LETTER_PORT}",

    // F: the local APIC timer, one-shot and undivided, wakes hlt.
    "movl ${LOCAL_APIC}, %ebx",
    "movl $0x1ff, 0xf0(%rbx)", // Spurious interrupt vector: APIC enabled.
    "movl $0xb, 0x3e0(%rbx)", // Divide configuration: by 1.
    "movl ${TIMER_VECTOR}, 0x320(%rbx)", // LVT timer.
    "movl ${TIMER_COUNT}, 0x380(%rbx)", // Initial count.
    "4: sti",
    "hlt",
    "cli",
    "cmpq $0, {REPORT_PAGE} + {timer}",
    "je 4b",
    "movl ${TIMER_VECTOR} + 0x10000, 0x320(%rbx)", // Mask the timer.
    "movb $'F', %al",
    "outb %al, ${LETTER_PORT}",

    // G: a page fault, after which the repeated access works.
    "movabsq ${PATTERN_AFTER}, %rax",
    ".Laccess:",
    "xchgq %rax, {UNMAPPED_ADDRESS}",
    "movq %rax, %rsi",
    "movl ${BAD_PAGE}, %edi",
    "movabsq ${PATTERN_BEFORE}, %rcx",
    "cmpq %rcx, %rax",
    "jne .Lwrong",
    "movb $'G', %al",
    "outb %al, ${LETTER_PORT}",
    "5: hlt",
    "jmp 5b",

    "sudbox_probe_timer:",
    "movq $1, {REPORT_PAGE} + {timer}",
    "movl ${TIMER_NEXT_COUNT}, 0x380(%rbx)",
    "movl $0, 0xb0(%rbx)", // End of interrupt.
    "iretq",

    "sudbox_probe_page_fault:",
    "cmpq $(.Laccess - sudbox_probe_kernel + {KERNEL_TEXT}), 8(%rsp)",
    "jne .Lvectors + {VECTOR_ENTRY_SIZE} * 14",
    "cmpq $0, {UNMAPPED_ENTRY}",
    "jne .Lvectors + {VECTOR_ENTRY_SIZE} * 14", // A second page fault at the same access.
    "movq %cr2, %rsi",
    "movl ${BAD_CR2}, %edi",
    "cmpq ${UNMAPPED_ADDRESS}, %rsi",
    "jne .Lwrong",
    "movq (%rsp), %rsi",
    "movl ${BAD_ERROR}, %edi",
    "cmpq $2, %rsi", // A write, by ring 0, to a page that is not present.
    "jne .Lwrong",
    "movq ${MAPPED_PAGE} + 3, {UNMAPPED_ENTRY}",
    "invlpg {UNMAPPED_ADDRESS}",
    "addq $8, %rsp",
    "iretq",
    "sudbox_probe_kernel_end:",

    // Ring 3: the loop, with the fastest run in rbx.
    "sudbox_probe_user:",
    "movl $-1, %ebx",
    "movl ${LOOP_RUNS}, %edi",
    "6: rdtsc",
    "movl %eax, %esi",
    "movl ${LOOP_ITERATIONS}, %ecx",
    timed_loop!(),
    "rdtsc",
    "subl %esi, %eax",
    "cmpl %ebx, %eax",
    "cmovbl %eax, %ebx",
    "decl %edi",
    "jnz 6b",
    "syscall",
    ".Lback:",
    "ud2",
    "sudbox_probe_user_end:",
    ".popsection",
    kind = const offset_of!(Report, kind),
    number = const offset_of!(Report, number),
    value = const offset_of!(Report, value),
    rip = const offset_of!(Report, rip),
    cs = const offset_of!(Report, cs),
    rflags = const offset_of!(Report, rflags),
    rsp = const offset_of!(Report, rsp),
    ss = const offset_of!(Report, ss),
    cr2 = const offset_of!(Report, cr2),
    timer = const offset_of!(Report, timer),
    ticks = const offset_of!(Report, ticks),
    REPORT_PAGE = const REPORT_PAGE,
    FAULT = const FAULT,
    WRONG = const WRONG,
    STOP_LETTER = const STOP_LETTER,
    LETTER_PORT = const LETTER_PORT,
    KERNEL_TEXT = const KERNEL_TEXT,
    VECTOR_ENTRY_SIZE = const VECTOR_ENTRY_SIZE,
    USER_TEXT = const USER_TEXT,
    USER_STACK = const USER_STACK,
    KERNEL_STACK = const KERNEL_STACK,
    KERNEL_CODE = const KERNEL_CODE,
    USER_CODE_32 = const USER_CODE_32,
    USER_CODE = const USER_CODE,
    USER_DATA = const USER_DATA,
    GS_BASE_VALUE = const GS_BASE_VALUE,
    KERNEL_GS_BASE_VALUE = const KERNEL_GS_BASE_VALUE,
    LOCAL_APIC = const LOCAL_APIC,
    TIMER_VECTOR = const TIMER_VECTOR,
    TIMER_COUNT = const TIMER_COUNT,
    TIMER_NEXT_COUNT = const TIMER_NEXT_COUNT,
    UNMAPPED_ADDRESS = const UNMAPPED_ADDRESS,
    UNMAPPED_ENTRY = const UNMAPPED_ENTRY,
    MAPPED_PAGE = const MAPPED_PAGE,
    PATTERN_BEFORE = const PATTERN_BEFORE,
    PATTERN_AFTER = const PATTERN_AFTER,
    LOOP_ITERATIONS = const LOOP_ITERATIONS,
    LOOP_RUNS = const LOOP_RUNS,
    BAD_RING = const BAD_RING,
    BAD_MSR = const BAD_MSR,
    BAD_SYSCALL_RING = const BAD_SYSCALL_RING,
    BAD_RETURN = const BAD_RETURN,
    BAD_MASK = const BAD_MASK,
    BAD_GS = const BAD_GS,
    BAD_STACK = const BAD_STACK,
    BAD_CPUID = const BAD_CPUID,
    BAD_TSC = const BAD_TSC,
    BAD_CR2 = const BAD_CR2,
    BAD_ERROR = const BAD_ERROR,
    BAD_PAGE = const BAD_PAGE,
    options(att_syntax)
);

unsafe extern "C" {
    static sudbox_probe_kernel: u8;
    static sudbox_probe_kernel_end: u8;
    static sudbox_probe_entry: u8;
    static sudbox_probe_invalid_opcode: u8;
    static sudbox_probe_page_fault: u8;
    static sudbox_probe_timer: u8;
    static sudbox_probe_user: u8;
    static sudbox_probe_user_end: u8;
}

/// Returns the bytes between two labels of the payload.
///
/// # Safety
/// `start` and `end` are labels of the payload, in this order.
unsafe fn bytes_between(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: the caller guarantees that both labels are in one read-only section of this program.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Returns the guest address of a label in the code of ring 0.
fn guest_address(label: *const u8) -> u64 {
    KERNEL_TEXT + (label.addr() - (&raw const sudbox_probe_kernel).addr()) as u64
}

/// Returns the address of the payload's first instruction.
pub(super) fn entry() -> u64 {
    guest_address(&raw const sudbox_probe_entry)
}

/// Writes the payload and all its tables into guest memory.
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`](super::memory::MEMORY_SIZE).
pub(in crate::probe::test_vm) fn write(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    let handlers = [
        (6, guest_address(&raw const sudbox_probe_invalid_opcode)),
        (14, guest_address(&raw const sudbox_probe_page_fault)),
        (TIMER_VECTOR, guest_address(&raw const sudbox_probe_timer)),
    ];
    memory::write_tables(memory, &handlers)?;
    memory.write_obj(PATTERN_BEFORE, GuestAddress(MAPPED_PAGE))?;
    // SAFETY: The labels of each pair are labels of the payload, in this order.
    let (kernel, user) = unsafe {
        (
            bytes_between(&raw const sudbox_probe_kernel, &raw const sudbox_probe_kernel_end),
            bytes_between(&raw const sudbox_probe_user, &raw const sudbox_probe_user_end),
        )
    };
    memory.write_slice(kernel, GuestAddress(KERNEL_TEXT))?;
    memory.write_slice(user, GuestAddress(USER_TEXT))
}

/// Reads the payload's report, and the ticks that its loop took in ring 3 (0 before step C).
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`](super::memory::MEMORY_SIZE).
pub(super) fn report(memory: &GuestMemoryMmap) -> Result<(PayloadReport, u64), GuestMemoryError> {
    let report: Report = memory.read_obj(GuestAddress(REPORT_PAGE))?;
    let payload_report = if report.kind == u64::from(FAULT) {
        PayloadReport::Fault(report.fault())
    } else if report.kind == u64::from(WRONG) {
        let result_name =
            usize::try_from(report.number).ok().and_then(|number| WRONG_RESULTS.get(number));
        PayloadReport::WrongResult {
            result_name: result_name.copied().unwrap_or("an unknown check"),
            value: report.value,
        }
    } else {
        PayloadReport::NothingWrong
    };
    Ok((payload_report, report.ticks))
}

/// Times the loop on the host: ticks of the TSC and duration of the fastest run.
pub(in crate::probe::test_vm) fn time_loop_on_host() -> (u64, Duration) {
    let timed_run = || {
        let (start_time, start_count) = (Instant::now(), rdtsc());
        // SAFETY: The code only counts a register down, which is declared as changed.
        unsafe {
            asm!(timed_loop!(), inout("ecx") LOOP_ITERATIONS => _, options(att_syntax, nomem, nostack));
        }
        (rdtsc().wrapping_sub(start_count), start_time.elapsed())
    };
    (0..LOOP_RUNS).map(|_| timed_run()).min().unwrap_or((u64::MAX, Duration::ZERO))
}

fn rdtsc() -> u64 {
    // SAFETY: every 64-bit processor has rdtsc, and Linux lets programs use it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests;
