// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The payload: the code that the probe's vCPU runs.
//!
//! The payload performs operations that every kernel performs. After each successful step it writes a
//! letter to [`PORT`]. On an error, it writes a report to the addresses after that, word by word, then
//! [`STOPPED`]. The report is not in memory, because the host may not see writes while the MMU is off. Each
//! of the 16 exception vectors has an entry, so every fault is reported.

use std::arch::{asm, global_asm};
use std::time::{Duration, Instant};

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::memory::{
    self, ABSENT, ABSENT_ENTRY, GIVEN, KERNEL, LEVEL_1, MAIR, PORT, TCR, USER, data_entry,
};
use crate::kvm::aarch64::layout::{GIC_DISTRIBUTOR, GIC_REDISTRIBUTORS};
use crate::probe::test_vm::judge::Anomaly;
use crate::probe::test_vm::{AFTER, BEFORE, STOPPED};

// Words of a report: offsets from [`PORT`].
const VECTOR: u64 = 0x10;
const SYNDROME: u64 = 0x18;
const PLACE: u64 = 0x20;
const ADDRESS: u64 = 0x28;
const STATE: u64 = 0x30;
const WRONG: u64 = 0x38;
const VALUE: u64 = 0x40;
const TICKS: u64 = 0x48;
/// Offset of the end of the report.
const WORDS_END: u64 = 0x50;

/// Interrupt of the virtual timer: PPI 11.
const TIMER: u64 = 27;

/// Iterations of the timed loop. The fastest of [`ROUNDS`] runs counts.
const SPINS: u64 = 20_000;
const ROUNDS: u64 = 4;

// Numbers of wrong results in the report; see `WRONGS`.
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
const WRONGS: [&str; 9] = [
    "the first instruction does not run in EL1: CurrentEL",
    "a system register does not keep what was written: TPIDR_EL1",
    "the MMU is not on: SCTLR_EL1",
    "svc does not save where it came from: ELR_EL1",
    "svc does not save the state of EL0: SPSR_EL1",
    "the virtual counter stands still: difference",
    "another interrupt than the timer's: ICC_IAR1_EL1",
    "a page fault names another address: FAR_EL1",
    "the page that was mapped holds something else: value",
];

/// The timed loop, for EL0 and the host: counts x7 down to 0.
macro_rules! spin {
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
    "mov x27, #.Lvector",
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
    "str x27, [x28, #{VECTOR}]",
    "mrs x0, esr_el1",
    "str x0, [x28, #{SYNDROME}]",
    "mrs x0, elr_el1",
    "str x0, [x28, #{PLACE}]",
    "mrs x0, far_el1",
    "str x0, [x28, #{ADDRESS}]",
    "mrs x0, spsr_el1",
    "str x0, [x28, #{STATE}]",
    "b .Lstop",

    // x1: number of the wrong result; x2: its value.
    ".Lwrong:",
    "str x2, [x28, #{VALUE}]",
    "str x1, [x28, #{WRONG}]",
    ".Lstop:",
    "mov w0, #{STOPPED}",
    "strb w0, [x28]",
    "msr daifset, #15",
    "20: wfi",
    "b 20b",

    // A: EL1.
    "sudbox_probe_entry:",
    "ldr x28, ={PORT}",
    "ldr x0, ={KERNEL}",
    "msr vbar_el1, x0",
    "isb",
    "mrs x2, CurrentEL",
    "mov x1, #{BAD_LEVEL}",
    "cmp x2, #4",
    "b.ne .Lwrong",
    "mov w0, #'A'",
    "strb w0, [x28]",

    // B: system registers.
    "ldr x3, ={BEFORE}",
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
    "ldr x0, ={USER}",
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
    "ldr x3, =(.Lback - sudbox_probe_user + {USER})",
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
    "str x4, [x28, #{TICKS}]",
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
    "ldr x3, =(.Lback - sudbox_probe_user + {USER})",
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
    "mov w0, #1 << {TIMER}",
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
    "lsr x0, x0, #13", // Some 100 microseconds.
    "msr cntv_tval_el0, x0",
    "mov x0, #1",
    "msr cntv_ctl_el0, x0",
    "isb",
    // Interrupts are masked: wfi still ends at a pending one, and none is taken before wfi.
    "23: wfi",
    "msr daifclr, #2",
    "isb",
    "msr daifset, #2",
    "cbz x21, 23b",
    "mov w0, #'F'",
    "strb w0, [x28]",

    // G: a page fault; the access is repeated after it and works.
    "ldr x3, ={ABSENT}",
    ".Laccess:",
    "ldr x2, [x3]",
    "mov x1, #{BAD_PAGE}",
    "ldr x5, ={BEFORE}",
    "cmp x2, x5",
    "b.ne .Lwrong",
    "ldr x5, ={AFTER}",
    "str x5, [x3]",
    "dsb sy",
    "mov w0, #'G'",
    "strb w0, [x28]",
    "24: wfi",
    "b 24b",

    ".Linterrupt:",
    "mrs x2, S3_0_C12_C12_0", // ICC_IAR1_EL1
    "mov x1, #{BAD_INTERRUPT}",
    "cmp x2, #{TIMER}",
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
    "ldr x5, ={ABSENT_ENTRY}",
    "ldr x6, ={GIVEN_ENTRY}",
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
    "mov x5, #{ROUNDS}",
    "25: isb",
    "mrs x6, cntvct_el0",
    "mov x7, #{SPINS}",
    spin!(),
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
    VECTOR = const VECTOR,
    SYNDROME = const SYNDROME,
    PLACE = const PLACE,
    ADDRESS = const ADDRESS,
    STATE = const STATE,
    WRONG = const WRONG,
    VALUE = const VALUE,
    TICKS = const TICKS,
    STOPPED = const STOPPED,
    PORT = const PORT,
    KERNEL = const KERNEL,
    USER = const USER,
    MAIR = const MAIR,
    TCR = const TCR,
    LEVEL_1 = const LEVEL_1,
    GIC_REDISTRIBUTORS = const GIC_REDISTRIBUTORS,
    GIC_DISTRIBUTOR = const GIC_DISTRIBUTOR,
    TIMER = const TIMER,
    ABSENT = const ABSENT,
    ABSENT_ENTRY = const ABSENT_ENTRY,
    GIVEN_ENTRY = const data_entry(GIVEN),
    BEFORE = const BEFORE,
    AFTER = const AFTER,
    SPINS = const SPINS,
    ROUNDS = const ROUNDS,
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

/// The report that the payload writes after [`PORT`], word by word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report([Option<u64>; (WORDS_END / 8) as usize]);

impl Report {
    /// Handles a write at an offset. Ignores writes that are not word-sized.
    pub(super) fn take(&mut self, offset: u64, data: &[u8]) {
        let Ok(word) = data.try_into().map(u64::from_le_bytes) else { return };
        let place = usize::try_from(offset / 8).ok().and_then(|index| self.0.get_mut(index));
        if let (Some(place), 0) = (place, offset % 8) {
            *place = Some(word);
        }
    }

    fn word(&self, offset: u64) -> Option<u64> {
        self.0[usize::try_from(offset / 8).expect("an offset of ours")]
    }

    /// Returns the reported anomaly.
    pub(super) fn anomaly(&self) -> Anomaly {
        if let Some(number) = self.word(WRONG) {
            let what = usize::try_from(number).ok().and_then(|number| WRONGS.get(number));
            let what = what.copied().unwrap_or("an unknown check");
            return Anomaly::Wrong { what, value: self.word(VALUE).unwrap_or(0) };
        }
        let Some(vector) = self.word(VECTOR) else { return Anomaly::Nothing };
        let value = |offset| self.word(offset).unwrap_or(0);
        Anomaly::Fault(format!(
            "(vector {vector}, ESR {:X}h, ELR {:X}h, FAR {:X}h, SPSR {:X}h)",
            value(SYNDROME),
            value(PLACE),
            value(ADDRESS),
            value(STATE)
        ))
    }

    /// Returns the ticks of the virtual counter that the loop took in EL0; 0 before that.
    pub(super) fn ticks(&self) -> u64 {
        self.word(TICKS).unwrap_or(0)
    }
}

/// Returns the bytes between two labels of the payload.
///
/// # Safety
/// `from` and `to` are labels of the payload, in this order.
unsafe fn between(from: *const u8, to: *const u8) -> &'static [u8] {
    // SAFETY: the caller guarantees that both are in one read-only section of this program.
    unsafe { std::slice::from_raw_parts(from, to.addr() - from.addr()) }
}

/// Returns the address of the payload's first instruction.
pub(super) fn entry() -> u64 {
    let offset = (&raw const sudbox_probe_entry).addr() - (&raw const sudbox_probe_kernel).addr();
    KERNEL + offset as u64
}

/// Writes the payload and its page tables into guest memory.
///
/// # Errors
/// If the memory is smaller than [`SIZE`](super::memory::SIZE).
pub(in crate::probe::test_vm) fn write(memory: &GuestMemoryMmap) -> Result<(), GuestMemoryError> {
    memory::write_tables(memory)?;
    memory.write_obj(BEFORE, GuestAddress(GIVEN))?;
    // SAFETY: The labels are the payload's, in this order.
    let (kernel, user) = unsafe {
        (
            between(&raw const sudbox_probe_kernel, &raw const sudbox_probe_kernel_end),
            between(&raw const sudbox_probe_user, &raw const sudbox_probe_user_end),
        )
    };
    memory.write_slice(kernel, GuestAddress(KERNEL))?;
    memory.write_slice(user, GuestAddress(USER))
}

/// Times the loop on the host: ticks of the virtual counter and duration of the fastest run.
pub(in crate::probe::test_vm) fn time_loop_on_host() -> (u64, Duration) {
    let round = || {
        let (start, before) = (Instant::now(), counter());
        // SAFETY: Counts a register down, which is declared as changed.
        unsafe {
            asm!(spin!(), inout("x7") SPINS => _, options(nomem, nostack));
        }
        (counter().wrapping_sub(before), start.elapsed())
    };
    (0..ROUNDS).map(|_| round()).min().unwrap_or((u64::MAX, Duration::ZERO))
}

fn counter() -> u64 {
    let value: u64;
    // SAFETY: Reads a register that Linux lets programs read.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) value, options(nomem, nostack)) };
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::test_vm::aarch64::memory::SIZE;
    use crate::probe::test_vm::check_last_write;

    #[test]
    fn code_ends_before_what_follows() {
        // SAFETY: The labels are the payload's, in this order.
        let kernel =
            unsafe { between(&raw const sudbox_probe_kernel, &raw const sudbox_probe_kernel_end) };
        assert!(KERNEL + kernel.len() as u64 <= USER);
        assert_eq!(KERNEL % 2048, 0);
        assert!((KERNEL + 16 * 128..USER).contains(&entry()));
    }

    #[test]
    fn reports_are_read_as_the_payload_writes_them() {
        let mut report = Report::default();
        assert_eq!((report.anomaly(), report.ticks()), (Anomaly::Nothing, 0));
        report.take(TICKS, &5_u64.to_le_bytes());
        report.take(0, b"A");
        report.take(1 << 40, &[1; 8]);
        report.take(VECTOR + 1, &[1; 8]);
        assert_eq!((report.anomaly(), report.ticks()), (Anomaly::Nothing, 5));
        report.take(VECTOR, &4_u64.to_le_bytes());
        report.take(PLACE, &0x8123_u64.to_le_bytes());
        let fault = "(vector 4, ESR 0h, ELR 8123h, FAR 0h, SPSR 0h)";
        assert_eq!(report.anomaly(), Anomaly::Fault(fault.to_owned()));
        report.take(WRONG, &BAD_ADDRESS.to_le_bytes());
        report.take(VALUE, &7_u64.to_le_bytes());
        let Anomaly::Wrong { what, value: 7 } = report.anomaly() else { panic!() };
        assert!(what.ends_with("FAR_EL1"), "{what}");
    }

    #[test]
    fn a_lost_write_is_noticed() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
        write(&memory).unwrap();
        assert!(matches!(check_last_write(&memory).unwrap(), Anomaly::Wrong { value: BEFORE, .. }));
        memory.write_obj(AFTER, GuestAddress(GIVEN)).unwrap();
        assert_eq!(check_last_write(&memory).unwrap(), Anomaly::Nothing);
    }
}
