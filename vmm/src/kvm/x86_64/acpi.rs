// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ACPI tables for prebuilt kernels, which find processors and virtio-mmio devices by ACPI only.
//! The tables declare hardware-reduced ACPI (ACPI 6.5, section 4.1): no PM timer, no power button,
//! no SCI.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::LoadError;
use super::layout::{
    ACPI, IO_APIC, LOCAL_APIC, SERIAL_GSI, SERIAL_PORT, VSOCK_GSI, VSOCK_MMIO, VSOCK_MMIO_SIZE,
};
use super::mp_table::IO_APIC_ID;

const OEM_ID: [u8; 6] = *b"SUDBOX";
const OEM_TABLE_ID: [u8; 8] = *b"MICROVM ";
const OEM_REVISION: u32 = 1;

/// Bits of `IAPC_BOOT_ARCH` (ACPI 6.5, table 5.11): "VGA not present", "CMOS RTC not present". With
/// these bits set and "8042 present" clear, the kernel probes for none of the three devices.
const BOOT_ARCH_NO_VGA: u16 = 1 << 2;
const BOOT_ARCH_NO_CMOS_CLOCK: u16 = 1 << 5;

/// I/O port and value of the reset register. The value is the command that makes an i8042 pulse the
/// reset line. `i8042.rs` implements this command although the tables declare no i8042.
const RESET_PORT: u64 = 0x64;
const RESET_VALUE: u8 = 0xfe;

/// Address of the RSDP.
pub(super) const RSDP: u64 = ACPI;

/// Writes all tables for `cpus` processors.
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write_tables(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), LoadError> {
    for table in tables(cpus) {
        memory.write_slice(&table.bytes, GuestAddress(table.address))?;
    }
    Ok(())
}

/// A table and its address.
pub(super) struct Table {
    /// Physical address.
    pub(super) address: u64,
    /// Contents of the table.
    pub(super) bytes: Vec<u8>,
}

/// Returns all tables, the RSDP first. The other tables follow the RSDP in memory.
pub(super) fn tables(cpus: u8) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut next_address = RSDP + Rsdp::len() as u64;
    let mut append = |table: &dyn Aml| {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let address = next_address.next_multiple_of(16);
        next_address = address + bytes.len() as u64;
        tables.push(Table { address, bytes });
        address
    };
    let dsdt = append(&create_dsdt());
    let fadt = append(&create_fadt(dsdt));
    let madt = append(&create_madt(cpus));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = append(&xsdt);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM_ID, xsdt).to_aml_bytes(&mut rsdp);
    tables.insert(0, Table { address: RSDP, bytes: rsdp });
    tables
}

/// Returns the FADT. A write to its reset register has the same effect as a restart by `reboot=k`.
fn create_fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_CLOCK).into();
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.finalize()
}

/// Returns the MADT: processors and I/O APIC. Without interrupt source overrides, ISA interrupts go
/// to the pin of the same number, as in KVM.
fn create_madt(cpus: u8) -> impl Aml {
    let local_apic = LocalInterruptController::Address(to_u32(LOCAL_APIC));
    let mut madt = MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, local_apic);
    for id in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(IO_APIC_ID, to_u32(IO_APIC), 0));
    madt
}

/// Returns the DSDT: COM1, and the vsock device with the `_HID` that `drivers/virtio/virtio_mmio.c`
/// matches.
fn create_dsdt() -> impl Aml {
    let vsock_registers =
        aml::Memory32Fixed::new(true, to_u32(VSOCK_MMIO), to_u32(VSOCK_MMIO_SIZE));
    let vsock_interrupt = edge_interrupt(VSOCK_GSI);
    let serial_ports = aml::IO::new(SERIAL_PORT, SERIAL_PORT, 1, 8);
    let serial_interrupt = edge_interrupt(SERIAL_GSI);

    let mut body = Vec::new();
    aml::Scope::new(
        "_SB_".into(),
        vec![
            &aml::Device::new(
                "VSCK".into(),
                vec![
                    &aml::Name::new("_HID".into(), &"LNRO0005"),
                    &aml::Name::new("_UID".into(), &aml::ZERO),
                    &aml::Name::new(
                        "_CRS".into(),
                        &aml::ResourceTemplate::new(vec![&vsock_registers, &vsock_interrupt]),
                    ),
                ],
            ),
            &aml::Device::new(
                "COM1".into(),
                vec![
                    &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501")),
                    &aml::Name::new("_UID".into(), &aml::ZERO),
                    &aml::Name::new(
                        "_CRS".into(),
                        &aml::ResourceTemplate::new(vec![&serial_ports, &serial_interrupt]),
                    ),
                ],
            ),
        ],
    )
    .to_aml_bytes(&mut body);

    // 36 is the length of the header. Revision 2 makes AML integers 64 bits wide.
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&body);
    dsdt
}

/// Describes an interrupt that is edge-triggered, active high and not shared. An irqfd without a
/// resample descriptor raises such interrupts.
fn edge_interrupt(gsi: u32) -> aml::Interrupt {
    let (is_consumer, is_edge_triggered, is_active_low, is_shared) = (true, true, false, false);
    aml::Interrupt::new(is_consumer, is_edge_triggered, is_active_low, is_shared, gsi)
}

fn to_u32(address: u64) -> u32 {
    u32::try_from(address).expect("addresses of the layout are below 4 GiB")
}

#[cfg(test)]
mod tests;
