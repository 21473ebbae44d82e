// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The payload: the code that the probe's vCPU runs.
//!
//! The payload performs operations that every kernel performs. After each successful step, the
//! payload writes a letter to [`LETTER_PORT`]. On an error, the payload writes a report word by
//! word to the addresses after [`LETTER_PORT`], then [`STOP_LETTER`]. The report is not in memory:
//! while the guest's MMU is off, the guest's writes bypass the cache, and the host may not see them.
//! Each of the 16 exception vectors has an entry, so every fault is reported.

use std::arch::{asm, global_asm};
use std::time::{Duration, Instant};

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::memory::{
    self, KERNEL_TEXT, LETTER_PORT, LEVEL_1, MAIR, MAPPED_PAGE, TCR, UNMAPPED_ADDRESS,
    UNMAPPED_ENTRY, USER_TEXT, data_entry,
};
use crate::kvm::aarch64::layout::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};
use crate::probe::test_vm::judge::PayloadReport;
use crate::probe::test_vm::{PATTERN_AFTER, PATTERN_BEFORE, STOP_LETTER};

// Words of a report: offsets from [`LETTER_PORT`].
const VECTOR_WORD: u64 = 0x10;
const ESR_WORD: u64 = 0x18;
const ELR_WORD: u64 = 0x20;
const FAR_WORD: u64 = 0x28;
const SPSR_WORD: u64 = 0x30;
const WRONG_RESULT_WORD: u64 = 0x38;
const WRONG_VALUE_WORD: u64 = 0x40;
const TICKS_WORD: u64 = 0x48;
/// Offset of the end of the report.
const WORDS_END: u64 = 0x50;

/// Interrupt of the virtual timer: PPI 11.
const TIMER_INTERRUPT: u64 = 27;

/// Iterations of the timed loop.
const LOOP_ITERATIONS: u64 = 20_000;
/// Number of runs of the timed loop, of which the fastest counts.
const LOOP_RUNS: u64 = 4;

// Numbers of wrong results in the report; see `WRONG_RESULTS`.
const BAD_LEVEL: u64 = 0;
const BAD_REGISTER: u64 = 1;
const BAD_MMU: u64 = 2;
const BAD_RETURN: u64 = 3;
const BAD_STATE: u64 = 4;
const BAD_COUNTER: u64 = 5;
const BAD_INTERRUPT: u64 = 6;
const BAD_ADDRESS: u64 = 7;
const BAD_PAGE: u64 = 8;

/// Texts for wrong results, by number.
const WRONG_RESULTS: [&str; 9] = [
    "the first instruction does not run in EL1: CurrentEL",
    "a system register does not keep the written value: TPIDR_EL1",
    "the MMU is not on: SCTLR_EL1",
    "svc does not save the return address: ELR_EL1",
    "svc does not save the state of EL0: SPSR_EL1",
    "the virtual counter does not advance: difference",
    "the interrupt is not that of the timer: ICC_IAR1_EL1",
    "a page fault reports a wrong address: FAR_EL1",
    "the new page has wrong contents: value",
];

/// The timed loop, for EL0 and the host: counts x7 down to 0.
macro_rules! timed_loop {
    () => {
        "22: subs x7, x7, #1; b.ne 22b"
    };
}

global_asm!(
    // The host never executes this section.
    ".pushsection .rodata.sudbox_probe, \"a\", %progbits",
    ".balign 2048",
    ".globl sudbox_probe_kernel, sudbox_probe_kernel_end, sudbox_probe_entry",
    ".globl sudbox_probe_user, sudbox_probe_user_end",
    ".hidden sudbox_probe_kernel, sudbox_probe_kernel_end, sudbox_probe_entry",
    ".hidden sudbox_probe_user, sudbox_probe_user_end",
    "sudbox_probe_kernel:",
    ".set .Lvector, 0",
    ".rept 16",
    ".balign 128",
    "mov x27, #.Lvector", // x27: number of the vector; x28: LETTER_PORT.
    ".if .Lvector == 4", // Synchronous, from EL1.
    "b .Lfault",
    ".elseif .Lvector == 5", // Interrupt, from EL1.
    "b .Linterrupt",
    ".elseif .Lvector == 8", // Synchronous, from EL0.
    "b .Lprogram",
    ".else",
    "b .Lunexpected",
    ".endif",
    ".set .Lvector, .Lvector + 1",
    ".endr",
    ".balign 128",

    ".Lunexpected:",
    "str x27, [x28, #{VECTOR_WORD}]",
    "mrs x0, esr_el1",
    "str x0, [x28, #{ESR_WORD}]",
    "mrs x0, elr_el1",
    "str x0, [x28, #{ELR_WORD}]",
    "mrs x0, far_el1",
    "str x0, [x28, #{FAR_WORD}]",
    "mrs x0, spsr_el1",
    "str x0, [x28, #{SPSR_WORD}]",
    "b .Lstop",

    // x1: number of the wrong result; x2: its value.
    ".Lwrong:",
    "str x2, [x28, #{WRONG_VALUE_WORD}]",
    "str x1, [x28, #{WRONG_RESULT_WORD}]",
    ".Lstop:",
    "mov w0, #{STOP_LETTER}",
    "strb w0, [x28]",
    "msr daifset, #15",
    "20: wfi",
    "b 20b",

    // A: EL1.
    "sudbox_probe_entry:",
    "ldr x28, ={LETTER_PORT}",
    "ldr x0, ={KERNEL_TEXT}",
    "msr vbar_el1, x0",
    "isb",
    "mrs x2, CurrentEL",
    "mov x1, #{BAD_LEVEL}",
    "cmp x2, #4",
    "b.ne .Lwrong",
    "mov w0, #'A'",
    "strb w0, [x28]",

    // B: system registers.
    "ldr x3, ={PATTERN_BEFORE}",
    "msr tpidr_el1, x3",
    "mrs x2, tpidr_el1",
    "mov x1, #{BAD_REGISTER}",
    "cmp x2, x3",
    "b.ne .Lwrong",
    "mov w0, #'B'",
    "strb w0, [x28]",

    // C: the MMU.
    "ldr x0, ={MAIR}",
    "msr mair_el1, x0",
    "ldr x0, ={TCR}",
    "msr tcr_el1, x0",
    "ldr x0, ={LEVEL_1}",
    "msr ttbr0_el1, x0",
    "isb",
    "tlbi vmalle1",
    "dsb sy",
    "ldr x3, =0x30d01805", // The bits that are 1; MMU and caches.
    "msr sctlr_el1, x3",
    "isb",
    "mrs x2, sctlr_el1",
    "mov x1, #{BAD_MMU}",
    "tbz x2, #0, .Lwrong",
    "mov w0, #'C'",
    "strb w0, [x28]",

    // D: to EL0 with interrupts on, and back.
    "mov x0, #2", // The virtual counter for EL0.
    "msr cntkctl_el1, x0",
    "ldr x0, ={USER_TEXT}",
    "msr elr_el1, x0",
    "msr spsr_el1, xzr",
    "mov x20, #0", // Number of returns from EL0.
    "mov x21, #0", // Number of interrupts.
    "mov x22, #0", // Number of page faults.
    "eret",

    ".Lprogram:",
    "mrs x2, esr_el1",
    "lsr x3, x2, #26",
    "cbnz x20, .Lsecond",
    "cmp x3, #0x15", // svc
    "b.ne .Lunexpected",
    "mrs x2, elr_el1",
    "ldr x3, =(.Lback - sudbox_probe_user + {USER_TEXT})",
    "mov x1, #{BAD_RETURN}",
    "cmp x2, x3",
    "b.ne .Lwrong",
    "mrs x2, spsr_el1",
    "mov x1, #{BAD_STATE}",
    "tst x2, #0xf", // EL0
    "b.ne .Lwrong",
    "mov x2, x4",
    "mov x1, #{BAD_COUNTER}",
    "cbz x2, .Lwrong",
    "str x4, [x28, #{TICKS_WORD}]",
    "mov w0, #'D'",
    "strb w0, [x28]",
    "mov x20, #1",
    "eret",

    // E: an undefined instruction.
    ".Lsecond:",
    "cmp x20, #1",
    "b.ne .Lunexpected",
    "cbnz x3, .Lunexpected", // ESR class 0: unknown reason.
    "mrs x2, elr_el1",
    "ldr x3, =(.Lback - sudbox_probe_user + {USER_TEXT})",
    "cmp x2, x3",
    "b.ne .Lunexpected",
    "mov x20, #2",
    "mov w0, #'E'",
    "strb w0, [x28]",

    // F: the virtual timer, through the GIC, wakes wfi.
    "ldr x9, ={GIC_REDISTRIBUTORS}",
    "ldr w0, [x9, #0x14]", // GICR_WAKER
    "bic w0, w0, #2",
    "str w0, [x9, #0x14]",
    "21: ldr w0, [x9, #0x14]",
    "tbnz w0, #2, 21b",
    "add x9, x9, #0x10, lsl #12",
    "mov w0, #-1",
    "str w0, [x9, #0x80]", // GICR_IGROUPR0
    "mov w0, #1 << {TIMER_INTERRUPT}",
    "str w0, [x9, #0x100]", // GICR_ISENABLER0
    "ldr x9, ={GIC_DISTRIBUTOR}",
    "mov w0, #0x12", // Affinity routing, group 1.
    "str w0, [x9]",
    "mov x0, #7",
    "msr S3_0_C12_C12_5, x0", // ICC_SRE_EL1
    "isb",
    "mov x0, #0xff",
    "msr S3_0_C4_C6_0, x0", // ICC_PMR_EL1
    "mov x0, #1",
    "msr S3_0_C12_C12_7, x0", // ICC_IGRPEN1_EL1
    "isb",
    "mrs x0, cntfrq_el0",
    "lsr x0, x0, #13", // 1/8192 s.
    "msr cntv_tval_el0, x0",
    "mov x0, #1",
    "msr cntv_ctl_el0, x0",
    "isb",
    // Interrupts are masked: a pending interrupt still ends wfi, and no interrupt is taken before
    // wfi.
    "23: wfi",
    "msr daifclr, #2",
    "isb",
    "msr daifset, #2",
    "cbz x21, 23b",
    "mov w0, #'F'",
    "strb w0, [x28]",

    // G: a page fault, after which the repeated access works.
    "ldr x3, ={UNMAPPED_ADDRESS}",
    ".Laccess:",
    "ldr x2, [x3]",
    "mov x1, #{BAD_PAGE}",
    "ldr x5, ={PATTERN_BEFORE}",
    "cmp x2, x5",
    "b.ne .Lwrong",
    "ldr x5, ={PATTERN_AFTER}",
    "str x5, [x3]",
    "dsb sy",
    "mov w0, #'G'",
    "strb w0, [x28]",
    "24: wfi",
    "b 24b",

    ".Linterrupt:",
    "mrs x2, S3_0_C12_C12_0", // ICC_IAR1_EL1
    "mov x1, #{BAD_INTERRUPT}",
    "cmp x2, #{TIMER_INTERRUPT}",
    "b.ne .Lwrong",
    "msr cntv_ctl_el0, xzr",
    "isb",
    "msr S3_0_C12_C12_1, x2", // ICC_EOIR1_EL1
    "mov x21, #1",
    "eret",

    ".Lfault:",
    "mrs x2, elr_el1",
    "adr x5, .Laccess",
    "cmp x2, x5",
    "b.ne .Lunexpected",
    "cbnz x22, .Lunexpected", // A second page fault at the same access.
    "mov x22, #1",
    "mrs x2, esr_el1",
    "lsr x2, x2, #26",
    "cmp x2, #0x25", // Data abort, from EL1
    "b.ne .Lunexpected",
    "mrs x2, far_el1",
    "mov x1, #{BAD_ADDRESS}",
    "cmp x2, x3",
    "b.ne .Lwrong",
    "ldr x5, ={UNMAPPED_ENTRY}",
    "ldr x6, ={MAPPED_PAGE_ENTRY}",
    "str x6, [x5]",
    "dsb ishst",
    "isb",
    "eret",
    ".ltorg",
    "sudbox_probe_kernel_end:",

    // EL0: the loop, with the fastest run in x4.
    ".balign 8",
    "sudbox_probe_user:",
    "mov x4, #-1",
    "mov x5, #{LOOP_RUNS}",
    "25: isb",
    "mrs x6, cntvct_el0",
    "mov x7, #{LOOP_ITERATIONS}",
    timed_loop!(),
    "isb",
    "mrs x8, cntvct_el0",
    "sub x8, x8, x6",
    "cmp x8, x4",
    "csel x4, x8, x4, lo",
    "subs x5, x5, #1",
    "b.ne 25b",
    "svc #0",
    ".Lback:",
    "udf #0",
    "sudbox_probe_user_end:",
    ".popsection",
    VECTOR_WORD = const VECTOR_WORD,
    ESR_WORD = const ESR_WORD,
    ELR_WORD = const ELR_WORD,
    FAR_WORD = const FAR_WORD,
    SPSR_WORD = const SPSR_WORD,
    WRONG_RESULT_WORD = const WRONG_RESULT_WORD,
    WRONG_VALUE_WORD = const WRONG_VALUE_WORD,
    TICKS_WORD = const TICKS_WORD,
    STOP_LETTER = const STOP_LETTER,
    LETTER_PORT = const LETTER_PORT,
    KERNEL_TEXT = const KERNEL_TEXT,
    USER_TEXT = const USER_TEXT,
    MAIR = const MAIR,
    TCR = const TCR,
    LEVEL_1 = const LEVEL_1,
    GIC_REDISTRIBUTORS = const GIC_REDISTRIBUTORS,
    GIC_DISTRIBUTOR = const GIC_DISTRIBUTOR,
    TIMER_INTERRUPT = const TIMER_INTERRUPT,
    UNMAPPED_ADDRESS = const UNMAPPED_ADDRESS,
    UNMAPPED_ENTRY = const UNMAPPED_ENTRY,
    MAPPED_PAGE_ENTRY = const data_entry(MAPPED_PAGE),
    PATTERN_BEFORE = const PATTERN_BEFORE,
    PATTERN_AFTER = const PATTERN_AFTER,
    LOOP_ITERATIONS = const LOOP_ITERATIONS,
    LOOP_RUNS = const LOOP_RUNS,
    BAD_LEVEL = const BAD_LEVEL,
    BAD_REGISTER = const BAD_REGISTER,
    BAD_MMU = const BAD_MMU,
    BAD_RETURN = const BAD_RETURN,
    BAD_STATE = const BAD_STATE,
    BAD_COUNTER = const BAD_COUNTER,
    BAD_INTERRUPT = const BAD_INTERRUPT,
    BAD_ADDRESS = const BAD_ADDRESS,
    BAD_PAGE = const BAD_PAGE,
);

unsafe extern "C" {
    static sudbox_probe_kernel: u8;
    static sudbox_probe_kernel_end: u8;
    static sudbox_probe_entry: u8;
    static sudbox_probe_user: u8;
    static sudbox_probe_user_end: u8;
}

/// The report that the payload writes after [`LETTER_PORT`], word by word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report([Option<u64>; (WORDS_END / 8) as usize]);

impl Report {
    /// Handles a write at an offset from [`LETTER_PORT`]. Ignores writes that are not of one
    /// aligned word.
    pub(super) fn record_write(&mut self, offset: u64, data: &[u8]) {
        let Ok(word) = data.try_into().map(u64::from_le_bytes) else { return };
        let slot = usize::try_from(offset / 8).ok().and_then(|index| self.0.get_mut(index));
        if let (Some(slot), 0) = (slot, offset % 8) {
            *slot = Some(word);
        }
    }

    fn word(&self, offset: u64) -> Option<u64> {
        self.0[usize::try_from(offset / 8).expect("offsets of the report are small")]
    }

    /// Decodes the words that the payload has written so far.
    pub(super) fn decode(&self) -> PayloadReport {
        if let Some(number) = self.word(WRONG_RESULT_WORD) {
            let result_name =
                usize::try_from(number).ok().and_then(|number| WRONG_RESULTS.get(number));
            let result_name = result_name.copied().unwrap_or("an unknown check");
            return PayloadReport::WrongResult {
                result_name,
                value: self.word(WRONG_VALUE_WORD).unwrap_or(0),
            };
        }
        let Some(vector) = self.word(VECTOR_WORD) else { return PayloadReport::NothingWrong };
        let value = |offset| self.word(offset).unwrap_or(0);
        PayloadReport::Fault(format!(
            "(vector {vector}, ESR {:X}h, ELR {:X}h, FAR {:X}h, SPSR {:X}h)",
            value(ESR_WORD),
            value(ELR_WORD),
            value(FAR_WORD),
            value(SPSR_WORD)
        ))
    }

    /// Returns the ticks of the virtual counter that the loop took in EL0; 0 before step D.
    pub(super) fn ticks(&self) -> u64 {
        self.word(TICKS_WORD).unwrap_or(0)
    }
}

/// Returns the bytes between two labels of the payload.
///
/// # Safety
/// `start` and `end` are labels of the payload, in this order.
unsafe fn bytes_between(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: the caller guarantees that both labels are in one read-only section of this program.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Returns the address of the payload's first instruction.
pub(super) fn entry() -> u64 {
    let offset = (&raw const sudbox_probe_entry).addr() - (&raw const sudbox_probe_kernel).addr();
    KERNEL_TEXT + offset as u64
}

/// Writes the payload and its page tables into guest memory.
///
/// # Errors
/// If the memory is smaller than [`MEMORY_SIZE`](super::memory::MEMORY_SIZE).
pub(in crate::probe::test_vm) fn write(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    memory::write_tables(memory)?;
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

/// Times the loop on the host: ticks of the virtual counter and duration of the fastest run.
pub(in crate::probe::test_vm) fn time_loop_on_host() -> (u64, Duration) {
    let timed_run = || {
        let (start_time, start_count) = (Instant::now(), counter());
        // SAFETY: The code only counts a register down, which is declared as changed.
        unsafe {
            asm!(timed_loop!(), inout("x7") LOOP_ITERATIONS => _, options(nomem, nostack));
        }
        (counter().wrapping_sub(start_count), start_time.elapsed())
    };
    (0..LOOP_RUNS).map(|_| timed_run()).min().unwrap_or((u64::MAX, Duration::ZERO))
}

fn counter() -> u64 {
    let value: u64;
    // SAFETY: The code only reads a register that Linux lets programs read.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) value, options(nomem, nostack)) };
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::test_vm::aarch64::memory::MEMORY_SIZE;
    use crate::probe::test_vm::check_last_write;

    #[test]
    fn the_code_of_el1_is_aligned_and_ends_before_that_of_el0() {
        // SAFETY: The labels of each pair are labels of the payload, in this order.
        let kernel = unsafe {
            bytes_between(&raw const sudbox_probe_kernel, &raw const sudbox_probe_kernel_end)
        };
        assert!(KERNEL_TEXT + kernel.len() as u64 <= USER_TEXT);
        assert_eq!(KERNEL_TEXT % 2048, 0);
        assert!((KERNEL_TEXT + 16 * 128..USER_TEXT).contains(&entry()));
    }

    #[test]
    fn a_report_is_decoded_from_the_written_words() {
        let mut report = Report::default();
        assert_eq!((report.decode(), report.ticks()), (PayloadReport::NothingWrong, 0));
        report.record_write(TICKS_WORD, &5_u64.to_le_bytes());
        report.record_write(0, b"A");
        report.record_write(1 << 40, &[1; 8]);
        report.record_write(VECTOR_WORD + 1, &[1; 8]);
        assert_eq!((report.decode(), report.ticks()), (PayloadReport::NothingWrong, 5));
        report.record_write(VECTOR_WORD, &4_u64.to_le_bytes());
        report.record_write(ELR_WORD, &0x8123_u64.to_le_bytes());
        let fault = "(vector 4, ESR 0h, ELR 8123h, FAR 0h, SPSR 0h)";
        assert_eq!(report.decode(), PayloadReport::Fault(fault.to_owned()));
        report.record_write(WRONG_RESULT_WORD, &BAD_ADDRESS.to_le_bytes());
        report.record_write(WRONG_VALUE_WORD, &7_u64.to_le_bytes());
        let PayloadReport::WrongResult { result_name, value: 7 } = report.decode() else {
            panic!()
        };
        assert!(result_name.ends_with("FAR_EL1"), "{result_name}");
    }

    #[test]
    fn a_lost_write_to_the_new_page_is_a_wrong_result() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
        write(&memory).unwrap();
        assert!(matches!(
            check_last_write(&memory).unwrap(),
            PayloadReport::WrongResult { value: PATTERN_BEFORE, .. }
        ));
        memory.write_obj(PATTERN_AFTER, GuestAddress(MAPPED_PAGE)).unwrap();
        assert_eq!(check_last_write(&memory).unwrap(), PayloadReport::NothingWrong);
    }
}
