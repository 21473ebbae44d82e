// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM's GICv3 (`Documentation/virt/kvm/devices/arm-vgic-v3.rst`).

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
    KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT, KVM_VGIC_V3_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};

use super::layout::{GIC_DISTRIBUTOR, GIC_INTERRUPTS, GIC_REDISTRIBUTORS};
use crate::kvm::SetupError;

/// The GIC of a VM.
pub(crate) struct Gic(DeviceFd);

/// A register of the GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GicRegister {
    /// Distributor register: 32 bits at this offset.
    Distributor(u32),
    /// Redistributor register of this CPU: 32 bits at this offset in the CPU's two frames.
    Redistributor(u8, u32),
    /// CPU interface register of this CPU: 64 bits, encoded as `op0 << 14 | op1 << 11 | CRn << 7 |
    /// CRm << 3 | op2`.
    CpuInterface(u8, u32),
}

impl GicRegister {
    /// Returns the group and the attribute in `struct kvm_device_attr`.
    fn attribute(self) -> (u32, u64) {
        // A CPU's affinity is its index (`reset_mpidr` in `arch/arm64/kvm/sys_regs.c`).
        let cpu_attribute = |cpu: u8, register: u32| {
            u64::from(cpu) << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT | u64::from(register)
        };
        match self {
            GicRegister::Distributor(offset) => (KVM_DEV_ARM_VGIC_GRP_DIST_REGS, offset.into()),
            GicRegister::Redistributor(cpu, offset) => {
                (KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, cpu_attribute(cpu, offset))
            }
            GicRegister::CpuInterface(cpu, register) => {
                (KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, cpu_attribute(cpu, register))
            }
        }
    }
}

impl Gic {
    /// Creates the GIC of a VM. All vCPUs must exist.
    ///
    /// # Errors
    /// If KVM refuses, for example because the host has no GICv3.
    pub(crate) fn new(vm: &VmFd) -> Result<Gic, SetupError> {
        let mut device = kvm_create_device {
            type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
            ..Default::default()
        };
        let fd = vm
            .create_device(&mut device)
            .map_err(SetupError::kvm("KVM_CREATE_DEVICE of a GICv3"))?;
        let gic = Gic(fd);
        let interrupts = GIC_INTERRUPTS;
        gic.set_attr(KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &interrupts)?;
        for (address_type, address) in [
            (KVM_VGIC_V3_ADDR_TYPE_DIST, GIC_DISTRIBUTOR),
            (KVM_VGIC_V3_ADDR_TYPE_REDIST, GIC_REDISTRIBUTORS),
        ] {
            gic.set_attr(KVM_DEV_ARM_VGIC_GRP_ADDR, address_type.into(), &address)?;
        }
        gic.set_attr(KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT.into(), &0_u64)?;
        Ok(gic)
    }

    /// Reads a register. No vCPU may be running.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn get(&self, register: GicRegister) -> Result<u64, SetupError> {
        let (group, attr) = register.attribute();
        let mut value = 0_u64;
        let mut attribute =
            kvm_device_attr { group, attr, addr: (&raw mut value).addr() as u64, flags: 0 };
        // SAFETY: KVM writes four or eight bytes to `value`, which has eight bytes. The host is
        // little-endian, so four bytes are the low half of `value`.
        unsafe { self.0.get_device_attr(&mut attribute) }
            .map_err(SetupError::kvm("KVM_GET_DEVICE_ATTR of the GIC"))?;
        Ok(value)
    }

    /// Writes a register.
    ///
    /// # Errors
    /// If KVM refuses.
    pub(super) fn set(&self, register: GicRegister, value: u64) -> Result<(), SetupError> {
        let (group, attr) = register.attribute();
        self.set_attr(group, attr, &value)
    }

    fn set_attr<T>(&self, group: u32, attr: u64, value: &T) -> Result<(), SetupError> {
        let addr = (&raw const *value).addr() as u64;
        let attribute = kvm_device_attr { group, attr, addr, flags: 0 };
        self.0
            .set_device_attr(&attribute)
            .map_err(SetupError::kvm("KVM_SET_DEVICE_ATTR of the GIC"))
    }
}
