// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ACPI tables for prebuilt kernels, which find processors and virtio-mmio devices by ACPI only. They
//! are of the hardware-reduced kind (ACPI 6.5, section 4.1): no PM timer, no power button, no SCI.

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

const OEM: [u8; 6] = *b"SUDBOX";
const OEM_TABLE: [u8; 8] = *b"MICROVM ";
const OEM_REVISION: u32 = 1;

/// `IAPC_BOOT_ARCH` bits (ACPI 6.5, table 5.11): "VGA not present", "CMOS RTC not present". "8042 present"
/// stays clear, so the kernel probes for none of the three.
const NO_VGA: u16 = 1 << 2;
const NO_CMOS_CLOCK: u16 = 1 << 5;

/// I/O port and value of the reset register. Writing the value to the port resets the machine: it is the
/// command by which an i8042 pulses the reset line. The VMM implements it although the tables declare no
/// i8042.
const RESET_PORT: u64 = 0x64;
const RESET_VALUE: u8 = 0xfe;

/// Address of the RSDP.
pub(super) const RSDP: u64 = ACPI;

/// Writes all tables for `cpus` processors.
///
/// # Errors
/// [`LoadError::Memory`] if the addresses are not in guest memory.
pub(super) fn write(memory: &GuestMemoryMmap, cpus: u8) -> Result<(), LoadError> {
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

/// Returns all tables, the RSDP first. The others follow it in memory.
pub(super) fn tables(cpus: u8) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut next = RSDP + Rsdp::len() as u64;
    let mut place = |table: &dyn Aml| {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let address = next.next_multiple_of(16);
        next = address + bytes.len() as u64;
        tables.push(Table { address, bytes });
        address
    };
    let dsdt = place(&dsdt());
    let fadt = place(&fadt(dsdt));
    let madt = place(&madt(cpus));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&xsdt);
    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    tables.insert(0, Table { address: RSDP, bytes: rsdp });
    tables
}

/// Returns the FADT. Its reset register does the same as `reboot=k`.
fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (NO_VGA | NO_CMOS_CLOCK).into();
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.finalize()
}

/// Returns the MADT: processors and I/O APIC. Without interrupt source overrides, ISA interrupts go to
/// the pin of the same number, as in KVM.
fn madt(cpus: u8) -> impl Aml {
    let local_apic = LocalInterruptController::Address(low32(LOCAL_APIC));
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local_apic);
    for id in 0..cpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(IO_APIC_ID, low32(IO_APIC), 0));
    madt
}

/// Returns the DSDT: COM1, and the vsock device with the `_HID` that `drivers/virtio/virtio_mmio.c`
/// matches.
fn dsdt() -> impl Aml {
    let memory = aml::Memory32Fixed::new(true, low32(VSOCK_MMIO), low32(VSOCK_MMIO_SIZE));
    let vsock_interrupt = edge(VSOCK_GSI);
    let ports = aml::IO::new(SERIAL_PORT, SERIAL_PORT, 1, 8);
    let serial_interrupt = edge(SERIAL_GSI);

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
                        &aml::ResourceTemplate::new(vec![&memory, &vsock_interrupt]),
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
                        &aml::ResourceTemplate::new(vec![&ports, &serial_interrupt]),
                    ),
                ],
            ),
        ],
    )
    .to_aml_bytes(&mut body);

    // 36 is the length of the header. Revision 2 makes AML integers 64 bits wide.
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    dsdt.append_slice(&body);
    dsdt
}

/// Describes an interrupt that is edge-triggered, active high and not shared, as an irqfd without a
/// resample descriptor raises it.
fn edge(gsi: u32) -> aml::Interrupt {
    let (consumer, edge_triggered, active_low, shared) = (true, true, false, false);
    aml::Interrupt::new(consumer, edge_triggered, active_low, shared, gsi)
}

fn low32(address: u64) -> u32 {
    u32::try_from(address).expect("the layout has it below 4 GiB")
}

#[cfg(test)]
mod tests;
