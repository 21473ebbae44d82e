//! Registers of a vCPU before its first instruction, with the descriptors and page tables they point
//! to. The other vCPUs wait for the kernel's INIT and SIPI as KVM makes them.

#[cfg(test)]
mod tests;

use kvm_bindings::{kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::layout::{GDT, PAGE_TABLES, PVH_START_INFO, ZERO_PAGE};
use super::{Entry, LoadError};

const CR0_PROTECTED: u64 = 1 << 0;
/// Extension type: always 1 on a processor of today.
const CR0_ET: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// In `rflags`: the bit that is always 1. Interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// Selectors, as the 64-bit boot protocol wants them: `__BOOT_CS` and `__BOOT_DS`; the task
/// state segment is anywhere.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TSS: u16 = 0x20;
/// The null descriptor, one unused, code, data, and the TSS, which takes two in 64-bit mode.
const GDT_ENTRIES: usize = 6;

/// Type of a code segment: executable, readable, accessed (Intel SDM 3A, table 3-1).
const TYPE_CODE: u8 = 0xb;
/// Type of a data segment: writable, accessed.
const TYPE_DATA: u8 = 0x3;
/// Type of a busy 32-bit or 64-bit TSS (table 3-2).
const TYPE_BUSY_TSS: u8 = 0xb;
/// Length of a TSS less one.
const TSS_LIMIT: u32 = 0x67;

/// In an entry of a page table: present and writable.
const PRESENT: u64 = 0x3;
/// In an entry of a page directory: a page of 2 MiB.
const LARGE: u64 = 0x80;
const PAGE: u64 = 0x1000;
const ENTRIES: u64 = 512;
/// Page directories: one for each GiB.
const DIRECTORIES: u64 = 4;

/// A segment over all 4 GiB.
fn flat(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        ..Default::default()
    }
}

fn code(entry: &Entry) -> kvm_segment {
    match entry {
        Entry::Pvh { .. } => flat(CODE, TYPE_CODE),
        Entry::Linux64 { .. } => kvm_segment { l: 1, db: 0, ..flat(CODE, TYPE_CODE) },
    }
}

fn data() -> kvm_segment {
    flat(DATA, TYPE_DATA)
}

fn tss() -> kvm_segment {
    kvm_segment { limit: TSS_LIMIT, s: 0, db: 0, g: 0, ..flat(TSS, TYPE_BUSY_TSS) }
}

/// A segment as a descriptor of the GDT (Intel SDM 3A, figure 3-8).
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 { segment.limit >> 12 } else { segment.limit });
    let flags = u64::from(segment.type_)
        | u64::from(segment.s) << 4
        | u64::from(segment.dpl) << 5
        | u64::from(segment.present) << 7
        | u64::from(segment.avl) << 12
        | u64::from(segment.l) << 13
        | u64::from(segment.db) << 14
        | u64::from(segment.g) << 15;
    (limit & 0xffff)
        | (segment.base & 0xff_ffff) << 16
        | flags << 40
        | (limit >> 16 & 0xf) << 48
        | (segment.base >> 24 & 0xff) << 56
}

/// Writes the descriptors behind the selectors of [`boot_registers`].
///
/// # Errors
/// [`LoadError::Memory`] if guest memory is not there.
pub(super) fn write_gdt(memory: &GuestMemoryMmap, entry: &Entry) -> Result<(), LoadError> {
    let mut table = [0; GDT_ENTRIES];
    for segment in [code(entry), data(), tss()] {
        table[usize::from(segment.selector / 8)] = descriptor(&segment);
    }
    for (at, descriptor) in (GDT..).step_by(8).zip(table) {
        memory.write_obj::<u64>(descriptor, GuestAddress(at))?;
    }
    Ok(())
}

/// Writes tables that map the first 4 GiB to themselves with pages of 2 MiB: the boot protocol asks
/// for the kernel, the zero page and the command line, all of which lie there.
///
/// # Errors
/// [`LoadError::Memory`] if guest memory is not there.
pub(super) fn write_page_tables(memory: &GuestMemoryMmap) -> Result<(), LoadError> {
    let (pdpt, directories) = (PAGE_TABLES + PAGE, PAGE_TABLES + 2 * PAGE);
    memory.write_obj(pdpt | PRESENT, GuestAddress(PAGE_TABLES))?;
    let mut table = Vec::new();
    for index in 0..DIRECTORIES {
        table.extend(((directories + index * PAGE) | PRESENT).to_le_bytes());
    }
    memory.write_slice(&table, GuestAddress(pdpt))?;
    table.clear();
    for index in 0..DIRECTORIES * ENTRIES {
        table.extend((index << 21 | PRESENT | LARGE).to_le_bytes());
    }
    memory.write_slice(&table, GuestAddress(directories))?;
    Ok(())
}

/// Registers of the boot CPU for `entry`; `sregs` are its own as `KVM_GET_SREGS` gave them, and only
/// what the boot protocols speak of is changed.
#[must_use]
pub fn boot_registers(entry: &Entry, sregs: &mut kvm_sregs) -> kvm_regs {
    sregs.cs = code(entry);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = data();
    }
    sregs.tr = tss();
    let limit = GDT_ENTRIES * 8 - 1;
    sregs.gdt = kvm_dtable {
        base: GDT,
        limit: u16::try_from(limit).expect("a few descriptors"),
        ..Default::default()
    };
    // No IDT: a fault before the kernel has its own is a triple fault.
    sregs.idt = kvm_dtable::default();
    sregs.cr0 = CR0_PROTECTED | CR0_ET;
    sregs.cr3 = 0;
    sregs.cr4 = 0;
    sregs.efer = 0;
    match *entry {
        Entry::Pvh { entry } => {
            kvm_regs { rip: entry, rbx: PVH_START_INFO, rflags: RFLAGS, ..Default::default() }
        }
        Entry::Linux64 { entry } => {
            sregs.cr0 |= CR0_PAGING;
            sregs.cr3 = PAGE_TABLES;
            sregs.cr4 = CR4_PAE;
            sregs.efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
            kvm_regs { rip: entry, rsi: ZERO_PAGE, rflags: RFLAGS, ..Default::default() }
        }
    }
}

const MSR_IA32_MISC_ENABLE: u32 = 0x1a0;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;

/// Model-specific registers of every vCPU that firmware sets and KVM does not.
///
/// - `IA32_MISC_ENABLE`: fast strings, without which the kernel takes an Intel processor's `rep movs`
///   for slow (`early_init_intel`); and, as KVM has them, no BTS and no PEBS.
/// - `IA32_MTRRdefType`: MTRRs on, all memory write-back. A kernel that finds them off does without
///   PAT (`mtrr_bp_init`), and takes its memory for uncached.
#[must_use]
pub fn boot_msrs() -> Vec<kvm_msr_entry> {
    let fast_strings = 1 << 0;
    let (no_bts, no_pebs) = (1 << 11, 1 << 12);
    let (enabled, write_back) = (1 << 11, 6);
    let msr = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    vec![
        msr(MSR_IA32_MISC_ENABLE, fast_strings | no_bts | no_pebs),
        msr(MSR_MTRR_DEF_TYPE, enabled | write_back),
    ]
}
