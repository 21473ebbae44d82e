// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot parameters: memory map and addresses of initramfs, command line and ACPI tables. A
//! vmlinux gets these parameters as the start info of PVH, a bzImage as the zero page of the 64-bit
//! boot protocol.

use linux_loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

use super::LoadError;
use super::acpi;
use super::initramfs::Initramfs;
use super::layout::{
    ACPI, BASE_MEMORY_END, CMDLINE, HIGH_MEMORY, MP_TABLE, PVH_START_INFO, ZERO_PAGE,
};

/// `type_of_loader` of a boot loader without an assigned id.
const LOADER_UNDEFINED: u8 = 0xff;

/// Address of PVH's memory map: after the start info in the same page. The module list follows the
/// map.
const MEMORY_MAP: u64 = PVH_START_INFO + size_of::<hvm_start_info>() as u64;

/// Returns the memory map, as a PC's firmware would describe it. The types have the same numbers in
/// PVH and in e820 (ACPI 6.5, section 15). The map leaves out the hole between base memory and the
/// ACPI tables, so that the kernel does not use the hole.
pub(super) fn memory_map(memory: &GuestMemoryMmap) -> Vec<hvm_memmap_table_entry> {
    let entry = |addr, end: u64, type_| hvm_memmap_table_entry {
        addr,
        size: end - addr,
        type_,
        reserved: 0,
    };
    let mut map = vec![
        entry(0, MP_TABLE, XEN_HVM_MEMMAP_TYPE_RAM),
        entry(MP_TABLE, BASE_MEMORY_END, XEN_HVM_MEMMAP_TYPE_RESERVED),
        entry(ACPI, HIGH_MEMORY, XEN_HVM_MEMMAP_TYPE_RESERVED),
    ];
    for region in memory.iter() {
        let start = region.start_addr().raw_value();
        let end = start + region.len();
        if end > HIGH_MEMORY {
            map.push(entry(start.max(HIGH_MEMORY), end, XEN_HVM_MEMMAP_TYPE_RAM));
        }
    }
    map
}

/// Writes PVH's start info, version 1 (`include/xen/interface/hvm/start_info.h`).
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write_start_info(
    memory: &GuestMemoryMmap,
    initramfs: &Initramfs,
) -> Result<(), LoadError> {
    let map = memory_map(memory);
    let modules_address = MEMORY_MAP + (map.len() * size_of::<hvm_memmap_table_entry>()) as u64;
    let start_info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        flags: 0,
        nr_modules: 1,
        modlist_paddr: modules_address,
        cmdline_paddr: CMDLINE,
        rsdp_paddr: acpi::RSDP,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: entry_count(&map),
        reserved: 0,
    };
    memory.write_obj(start_info, GuestAddress(PVH_START_INFO))?;
    for (address, entry) in (MEMORY_MAP..).step_by(size_of::<hvm_memmap_table_entry>()).zip(map) {
        memory.write_obj(entry, GuestAddress(address))?;
    }
    let module = hvm_modlist_entry {
        paddr: u64::from(initramfs.address),
        size: u64::from(initramfs.size),
        ..Default::default()
    };
    memory.write_obj(module, GuestAddress(modules_address))?;
    Ok(())
}

/// Writes the zero page for a bzImage with this setup header
/// (`Documentation/arch/x86/zero-page.rst`).
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write_zero_page(
    memory: &GuestMemoryMmap,
    header: setup_header,
    initramfs: &Initramfs,
) -> Result<(), LoadError> {
    let mut params = boot_params { hdr: header, ..Default::default() };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.ramdisk_image = initramfs.address;
    params.hdr.ramdisk_size = initramfs.size;
    params.hdr.cmd_line_ptr =
        u32::try_from(CMDLINE).expect("addresses of the layout are below 4 GiB");
    params.acpi_rsdp_addr = acpi::RSDP;
    let map = memory_map(memory);
    params.e820_entries = u8::try_from(entry_count(&map)).expect("the map has a few entries");
    let mut table = params.e820_table;
    for (table_entry, range) in table.iter_mut().zip(map) {
        *table_entry = boot_e820_entry { addr: range.addr, size: range.size, r#type: range.type_ };
    }
    params.e820_table = table;
    memory.write_obj(params, GuestAddress(ZERO_PAGE))?;
    Ok(())
}

fn entry_count(map: &[hvm_memmap_table_entry]) -> u32 {
    u32::try_from(map.len()).expect("the map has a few entries")
}
