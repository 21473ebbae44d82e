// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The emulated machine of level 1 for each architecture that has a microVM.

use sudbox_images::Arch;

/// An emulated machine with KVM.
#[derive(Debug)]
pub struct Host {
    /// The architecture.
    pub arch: Arch,
    /// Value of QEMU's `-cpu`.
    pub cpu: &'static str,
    /// Suffix of `cpu` that enables nested paging; empty if the architecture has no choice.
    pub nested_paging: &'static str,
    /// More properties for QEMU's `-machine`.
    pub machine_options: &'static str,
    /// Patches for the kernel: file names in this directory.
    pub patches: &'static [&'static str],
    /// The CPU model that level 2 sees, to run the same cases on TCG.
    pub guest_cpu_model: &'static str,
    /// Rust target of the programs in level 1.
    pub target: &'static str,
    /// Tools and packages for programs of the architecture; `None` for this machine's own.
    pub cross_tools: Option<CrossTools>,
}

/// Tools and packages for programs of another architecture.
#[derive(Debug)]
pub struct CrossTools {
    /// C cross compiler, which also links Rust programs.
    pub compiler: &'static str,
    /// Debian's name of the architecture.
    pub debian_arch: &'static str,
    /// Debian's package with QEMU for the architecture.
    pub qemu_package: &'static str,
}

/// Level 1 on x86-64. The unmodified `kvm_amd` works on the emulated SVM of `Opteron_G3` and `qemu64`;
/// on `EPYC` and `max`, a guest's kernel crashes in `prepare_creds()`.
///
/// Tests do not use nested paging. With `+npt`, a VM whose vCPUs share the CPUs of level 1 sometimes
/// ends in a triple fault, before its init or within a case. Measured with VMs of four vCPUs, in
/// alternation in one level 1: with `+npt`, 6 of 12 microVMs and 1 of 12 VMs of QEMU's microvm
/// crashed; without, none of 23 and none of 8, and none of 32 that ran eight at a time. One crash was
/// traced to a page fault at the instruction fetch of a `rep stosb`, before the guest had an IDT. The
/// cause was not found; it is probably in QEMU's emulation or in KVM, because QEMU's VMs crash too.
/// Without nested paging, all cases with four vCPUs take 14 s instead of 9.
pub static X86_64: Host = Host {
    arch: Arch::X86_64,
    cpu: "Opteron_G3,+svm",
    nested_paging: ",+npt",
    machine_options: "",
    patches: &["apic-timer.patch"],
    guest_cpu_model: "Opteron_G3",
    target: "x86_64-unknown-linux-gnu",
    cross_tools: None,
};

/// Level 1 on aarch64. `virtualization=on` emulates EL2; Cortex-A72 has no VHE, so KVM uses nVHE mode.
pub static AARCH64: Host = Host {
    arch: Arch::Aarch64,
    cpu: "cortex-a72",
    nested_paging: "",
    machine_options: ",virtualization=on,gic-version=3",
    patches: &[],
    guest_cpu_model: "cortex-a72",
    target: "aarch64-unknown-linux-gnu",
    cross_tools: Some(CrossTools {
        compiler: "aarch64-linux-gnu-gcc",
        debian_arch: "arm64",
        qemu_package: "qemu-system-arm",
    }),
};
