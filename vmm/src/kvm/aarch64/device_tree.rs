// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device tree, which describes the whole machine to the kernel
//! (`Documentation/devicetree/bindings/`).

use vm_fdt::{Error, FdtWriter};

use super::InitramfsRange;
use super::layout::{
    GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTOR_SIZE, GIC_REDISTRIBUTORS,
    MEMORY_START, SERIAL, SERIAL_GSI, VSOCK_GSI, VSOCK_MMIO, VSOCK_MMIO_SIZE,
};

/// Phandle of the GIC.
const GIC_PHANDLE: u32 = 1;

/// Interrupt type: shared by all CPUs (`bindings/interrupt-controller/arm,gic-v3.yaml`).
const SPI: u32 = 0;
/// Interrupt type: private to a CPU.
const PPI: u32 = 1;

/// Interrupt flag: triggered by a rising edge, as an irqfd does.
const EDGE_RISING: u32 = 1;
/// Interrupt flag: triggered by a high level.
const LEVEL_HIGH: u32 = 4;

/// PPIs of the timers: secure, non-secure, virtual, hypervisor
/// (`bindings/timer/arm,arch_timer.yaml`).
const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];

/// Clock of a PC's 16550 in hertz. The emulated UART ignores the baud rate.
const SERIAL_CLOCK: u32 = 1_843_200;

/// Creates the device tree of a machine with `cpus` CPUs and `memory` bytes of memory.
///
/// # Errors
/// If the command line holds a NUL byte.
pub(super) fn create(
    cmdline: &str,
    cpus: u8,
    memory: u64,
    initramfs: &InitramfsRange,
) -> Result<Vec<u8>, Error> {
    let mut tree = FdtWriter::new()?;
    let root = tree.begin_node("")?;
    tree.property_string("compatible", "linux,dummy-virt")?;
    tree.property_u32("#address-cells", 2)?;
    tree.property_u32("#size-cells", 2)?;
    tree.property_u32("interrupt-parent", GIC_PHANDLE)?;

    let chosen = tree.begin_node("chosen")?;
    tree.property_string("bootargs", cmdline)?;
    tree.property_u64("linux,initrd-start", initramfs.start)?;
    tree.property_u64("linux,initrd-end", initramfs.end)?;
    tree.end_node(chosen)?;

    let memory_node = tree.begin_node(&format!("memory@{MEMORY_START:x}"))?;
    tree.property_string("device_type", "memory")?;
    tree.property_array_u64("reg", &[MEMORY_START, memory])?;
    tree.end_node(memory_node)?;

    write_cpus(&mut tree, cpus)?;
    write_gic(&mut tree, cpus)?;

    let timer = tree.begin_node("timer")?;
    tree.property_string("compatible", "arm,armv8-timer")?;
    let interrupts: Vec<u32> = TIMER_PPIS.iter().flat_map(|&ppi| [PPI, ppi, LEVEL_HIGH]).collect();
    tree.property_array_u32("interrupts", &interrupts)?;
    tree.property_null("always-on")?;
    tree.end_node(timer)?;

    let psci = tree.begin_node("psci")?;
    let versions = ["arm,psci-1.0", "arm,psci-0.2"].map(str::to_owned);
    tree.property_string_list("compatible", versions.into())?;
    tree.property_string("method", "hvc")?;
    tree.end_node(psci)?;

    let serial = tree.begin_node(&format!("serial@{SERIAL:x}"))?;
    tree.property_string("compatible", "ns16550a")?;
    tree.property_array_u64("reg", &[SERIAL, 8])?;
    tree.property_u32("clock-frequency", SERIAL_CLOCK)?;
    tree.property_array_u32("interrupts", &[SPI, SERIAL_GSI, EDGE_RISING])?;
    tree.end_node(serial)?;

    let vsock = tree.begin_node(&format!("virtio_mmio@{VSOCK_MMIO:x}"))?;
    tree.property_string("compatible", "virtio,mmio")?;
    tree.property_array_u64("reg", &[VSOCK_MMIO, VSOCK_MMIO_SIZE])?;
    tree.property_array_u32("interrupts", &[SPI, VSOCK_GSI, EDGE_RISING])?;
    tree.property_null("dma-coherent")?;
    tree.end_node(vsock)?;

    tree.end_node(root)?;
    tree.finish()
}

/// Writes the CPU nodes. The `reg` of a node is the affinity of the CPU. KVM gives the vCPU with id
/// n the affinity n (`reset_mpidr` in `arch/arm64/kvm/sys_regs.c`).
fn write_cpus(tree: &mut FdtWriter, cpus: u8) -> Result<(), Error> {
    let cpus_node = tree.begin_node("cpus")?;
    tree.property_u32("#address-cells", 1)?;
    tree.property_u32("#size-cells", 0)?;
    for index in 0..cpus {
        let cpu = tree.begin_node(&format!("cpu@{index:x}"))?;
        tree.property_string("device_type", "cpu")?;
        tree.property_string("compatible", "arm,armv8")?;
        tree.property_string("enable-method", "psci")?;
        tree.property_u32("reg", index.into())?;
        tree.end_node(cpu)?;
    }
    tree.end_node(cpus_node)
}

/// Writes the node of the GIC: its distributor and one redistributor for each CPU.
fn write_gic(tree: &mut FdtWriter, cpus: u8) -> Result<(), Error> {
    let gic = tree.begin_node(&format!("interrupt-controller@{GIC_DISTRIBUTOR:x}"))?;
    tree.property_string("compatible", "arm,gic-v3")?;
    tree.property_null("interrupt-controller")?;
    tree.property_u32("#interrupt-cells", 3)?;
    let redistributors_size = u64::from(cpus) * GIC_REDISTRIBUTOR_SIZE;
    tree.property_array_u64(
        "reg",
        &[GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTORS, redistributors_size],
    )?;
    tree.property_phandle(GIC_PHANDLE)?;
    tree.end_node(gic)
}
