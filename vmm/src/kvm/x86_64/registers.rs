// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registers of the boot CPU before its first instruction, and the descriptor table and page tables
//! to which the registers point. The other vCPUs stay in the state in which KVM creates them, and
//! wait for INIT and SIPI.

use kvm_bindings::{kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::layout::{GDT, PAGE_TABLES, PVH_START_INFO, ZERO_PAGE};
use super::{KernelEntry, LoadError};

const CR0_PROTECTED: u64 = 1 << 0;
/// Extension type: always 1 since the Pentium Pro.
const CR0_ET: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// `RFLAGS` with interrupts off. Bit 1 is always set.
const RFLAGS_INTERRUPTS_OFF: u64 = 1 << 1;

/// Selector of the code segment, as the 64-bit boot protocol requires it (`__BOOT_CS`).
const CODE_SELECTOR: u16 = 0x10;
/// Selector of the data segment, as the 64-bit boot protocol requires it (`__BOOT_DS`).
const DATA_SELECTOR: u16 = 0x18;
/// Selector of the TSS, which the boot protocols do not define.
const TSS_SELECTOR: u16 = 0x20;
/// Number of descriptors: null, unused, code, data, and two for the TSS, as 64-bit mode needs.
const GDT_ENTRIES: usize = 6;

/// Type of a code segment: executable, readable, accessed (Intel SDM 3A, table 3-1).
const TYPE_CODE: u8 = 0xb;
/// Type of a data segment: writable, accessed.
const TYPE_DATA: u8 = 0x3;
/// Type of a busy 32-bit or 64-bit TSS (table 3-2).
const TYPE_BUSY_TSS: u8 = 0xb;
/// Segment limit of a TSS.
const TSS_LIMIT: u32 = 0x67;

/// Page table entry: present and writable.
const PRESENT_AND_WRITABLE: u64 = 0x3;
/// Page directory entry: a 2 MiB page.
const PAGE_OF_2_MIB: u64 = 0x80;
const PAGE_SIZE: u64 = 0x1000;
const TABLE_ENTRIES: u64 = 512;
/// Number of page directories, one for each GiB.
const PAGE_DIRECTORIES: u64 = 4;

/// Creates a 32-bit segment of 4 GiB at base 0.
fn flat_segment(selector: u16, type_: u8) -> kvm_segment {
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

fn code_segment(entry: &KernelEntry) -> kvm_segment {
    match entry {
        KernelEntry::Pvh { .. } => flat_segment(CODE_SELECTOR, TYPE_CODE),
        KernelEntry::Linux64 { .. } => {
            kvm_segment { l: 1, db: 0, ..flat_segment(CODE_SELECTOR, TYPE_CODE) }
        }
    }
}

fn data_segment() -> kvm_segment {
    flat_segment(DATA_SELECTOR, TYPE_DATA)
}

fn tss_segment() -> kvm_segment {
    kvm_segment { limit: TSS_LIMIT, s: 0, db: 0, g: 0, ..flat_segment(TSS_SELECTOR, TYPE_BUSY_TSS) }
}

/// Encodes a segment as a descriptor of the GDT (Intel SDM 3A, figure 3-8).
fn encode_descriptor(segment: &kvm_segment) -> u64 {
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

/// Writes the descriptor table for the selectors of [`boot_registers`].
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write_gdt(memory: &GuestMemoryMmap, entry: &KernelEntry) -> Result<(), LoadError> {
    let mut table = [0; GDT_ENTRIES];
    for segment in [code_segment(entry), data_segment(), tss_segment()] {
        table[usize::from(segment.selector / 8)] = encode_descriptor(&segment);
    }
    for (address, descriptor) in (GDT..).step_by(8).zip(table) {
        memory.write_obj::<u64>(descriptor, GuestAddress(address))?;
    }
    Ok(())
}

/// Writes page tables that map the first 4 GiB to themselves with 2 MiB pages. The boot protocol
/// requires this for the kernel, the zero page and the command line.
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write_page_tables(memory: &GuestMemoryMmap) -> Result<(), LoadError> {
    let (pdpt, page_directories) = (PAGE_TABLES + PAGE_SIZE, PAGE_TABLES + 2 * PAGE_SIZE);
    memory.write_obj(pdpt | PRESENT_AND_WRITABLE, GuestAddress(PAGE_TABLES))?;
    // The bytes of the PDPT, then those of all page directories.
    let mut table = Vec::new();
    for index in 0..PAGE_DIRECTORIES {
        table.extend(((page_directories + index * PAGE_SIZE) | PRESENT_AND_WRITABLE).to_le_bytes());
    }
    memory.write_slice(&table, GuestAddress(pdpt))?;
    table.clear();
    for index in 0..PAGE_DIRECTORIES * TABLE_ENTRIES {
        table.extend((index << 21 | PRESENT_AND_WRITABLE | PAGE_OF_2_MIB).to_le_bytes());
    }
    memory.write_slice(&table, GuestAddress(page_directories))?;
    Ok(())
}

/// Returns the general registers of the boot CPU for `entry`. `sregs` is the result of
/// `KVM_GET_SREGS`; this function sets the registers in it that the boot protocols define.
#[must_use]
pub fn boot_registers(entry: &KernelEntry, sregs: &mut kvm_sregs) -> kvm_regs {
    sregs.cs = code_segment(entry);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *segment = data_segment();
    }
    sregs.tr = tss_segment();
    let limit = GDT_ENTRIES * 8 - 1;
    sregs.gdt = kvm_dtable {
        base: GDT,
        limit: u16::try_from(limit).expect("a few descriptors"),
        ..Default::default()
    };
    // The IDT is empty, so a fault before the kernel has set up an IDT is a triple fault.
    sregs.idt = kvm_dtable::default();
    sregs.cr0 = CR0_PROTECTED | CR0_ET;
    sregs.cr3 = 0;
    sregs.cr4 = 0;
    sregs.efer = 0;
    match *entry {
        KernelEntry::Pvh { entry } => kvm_regs {
            rip: entry,
            rbx: PVH_START_INFO,
            rflags: RFLAGS_INTERRUPTS_OFF,
            ..Default::default()
        },
        KernelEntry::Linux64 { entry } => {
            sregs.cr0 |= CR0_PAGING;
            sregs.cr3 = PAGE_TABLES;
            sregs.cr4 = CR4_PAE;
            sregs.efer = EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE;
            kvm_regs {
                rip: entry,
                rsi: ZERO_PAGE,
                rflags: RFLAGS_INTERRUPTS_OFF,
                ..Default::default()
            }
        }
    }
}

const MSR_IA32_MISC_ENABLE: u32 = 0x1a0;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;

/// Returns the MSRs of every vCPU that firmware would set and KVM does not:
///
/// - `IA32_MISC_ENABLE`: fast strings, because a kernel without them considers `rep movs` slow on
///   Intel processors (`early_init_intel`); BTS and PEBS unavailable, which is KVM's default.
/// - `IA32_MTRRdefType`: MTRRs on, all memory write-back. With MTRRs off, the kernel would not use
///   PAT (`mtrr_bp_init`) and would consider memory uncached.
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

#[cfg(test)]
mod tests;
