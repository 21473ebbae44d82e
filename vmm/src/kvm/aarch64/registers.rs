// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM's ids of registers, and registers as text. The text has the format of QEMU, so that reports
//! look the same with every backend.

use std::fmt::Write as _;
use std::mem::offset_of;

use kvm_bindings::{
    KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_SIZE_MASK, KVM_REG_SIZE_SHIFT, KVM_REG_SIZE_U64,
    kvm_regs, user_pt_regs,
};
use kvm_ioctls::VcpuFd;

/// Number of general registers.
const GENERAL_REGISTERS: usize = 31;

/// Size of the largest register in bytes: an SVE slice (`KVM_REG_SIZE_U2048`).
pub(super) const LARGEST_REGISTER_SIZE: usize = 256;

/// Returns the id of the register at an offset in `struct kvm_regs` (`KVM_REG_ARM_CORE_REG` in
/// `arch/arm64/include/uapi/asm/kvm.h`).
const fn core_register(offset: usize) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (offset / size_of::<u32>()) as u64
}

/// Returns the id of `x0` to `x30`, by the number of the register.
pub(crate) const fn x_register(number: usize) -> u64 {
    core_register(
        offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, regs) + number * size_of::<u64>(),
    )
}

/// Id of the stack pointer of EL0.
pub(crate) const SP: u64 = core_register(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, sp));

/// Id of the stack pointer of EL1.
pub(crate) const SP_EL1: u64 = core_register(offset_of!(kvm_regs, sp_el1));

/// Id of the program counter.
pub(crate) const PC: u64 = core_register(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, pc));

/// Id of `PSTATE`.
pub(crate) const PSTATE: u64 =
    core_register(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, pstate));

/// `PSTATE` at boot: EL1h, all interrupts masked.
pub(crate) const PSTATE_BOOT: u64 = 0x3c5;

/// `PSTATE.I`: IRQs are masked.
pub(super) const PSTATE_I: u64 = 1 << 7;

/// Returns the size in bytes of the register with this id.
pub(super) fn size(id: u64) -> usize {
    1 << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT)
}

/// Reads a register of eight bytes. The vCPU must not be running.
///
/// # Errors
/// As `KVM_GET_ONE_REG`.
pub(crate) fn get(vcpu: &VcpuFd, id: u64) -> Result<u64, kvm_ioctls::Error> {
    let mut value = [0; 8];
    vcpu.get_one_reg(id, &mut value)?;
    Ok(u64::from_le_bytes(value))
}

/// Sets a register of eight bytes.
///
/// # Errors
/// As `KVM_SET_ONE_REG`.
pub(crate) fn set(vcpu: &VcpuFd, id: u64, value: u64) -> Result<(), kvm_ioctls::Error> {
    vcpu.set_one_reg(id, &value.to_le_bytes()).map(drop)
}

/// Formats the registers of a vCPU that is not running.
pub(super) fn registers(vcpu: &VcpuFd, index: usize) -> String {
    format_registers(index, |id| get(vcpu, id))
        .unwrap_or_else(|error| format!("CPU#{index}: its registers cannot be read: {error}"))
}

fn format_registers<E>(index: usize, read: impl Fn(u64) -> Result<u64, E>) -> Result<String, E> {
    let mut text = format!("CPU#{index}\n PC={:016x}", read(PC)?);
    for number in 0..GENERAL_REGISTERS {
        // QEMU prints four registers in a line.
        text.push(if number % 4 == 3 { '\n' } else { ' ' });
        let _ = write!(text, "X{number:02}={:016x}", read(x_register(number))?);
    }
    let _ = write!(
        text,
        " SP={:016x} SP_EL1={:016x}\nPSTATE={:08x}",
        read(SP)?,
        read(SP_EL1)?,
        read(PSTATE)?
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_kvm() {
        // Documentation/virt/kvm/api.rst, 4.68.
        assert_eq!(x_register(0), 0x6030_0000_0010_0000);
        assert_eq!(x_register(1), 0x6030_0000_0010_0002);
        assert_eq!(SP, 0x6030_0000_0010_003e);
        assert_eq!(PC, 0x6030_0000_0010_0040);
        assert_eq!(PSTATE, 0x6030_0000_0010_0042);
        assert_eq!(SP_EL1, 0x6030_0000_0010_0044);
        assert_eq!(
            (size(PC), size(0x6040_0000_0010_0054), size(0x6080_0000_0015_0000)),
            (8, 16, 256)
        );
    }

    #[test]
    fn registers_have_the_format_of_qemu() {
        let text =
            format_registers::<()>(1, |id| Ok(if id == PC { 0xffff_8000_8001_0000 } else { 7 }));
        let text = text.unwrap();
        assert!(
            text.starts_with("CPU#1\n PC=ffff800080010000 X00=0000000000000007 X01="),
            "{text}"
        );
        assert!(text.ends_with("\nPSTATE=00000007"), "{text}");
    }
}
