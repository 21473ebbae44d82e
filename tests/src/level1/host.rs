// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What level 1 is on each architecture whose KVM the microVM runs on.

use sudbox_images::Arch;

/// A machine with KVM, emulated.
#[derive(Debug)]
pub struct Host {
    /// Its architecture.
    pub arch: Arch,
    /// The CPU in QEMU's words.
    pub cpu: &'static str,
    /// What is added to it for paging in two stages, where that can be had or not.
    pub nested_paging: &'static str,
    /// More options of QEMU's machine.
    pub options: &'static str,
    /// Patches for its kernel, files beside this one.
    pub patches: &'static [&'static str],
    /// The model that level 2 sees through KVM, for comparison.
    pub model: &'static str,
    /// The Rust target of programs for it.
    pub target: &'static str,
    /// What makes programs for it, where it is not this machine's own architecture.
    pub foreign: Option<Foreign>,
}

/// Where programs of another architecture are from.
#[derive(Debug)]
pub struct Foreign {
    /// The compiler, which links Rust's programs too.
    pub compiler: &'static str,
    /// What the distribution calls the architecture.
    pub packages: &'static str,
    /// Its package of QEMU.
    pub qemu: &'static str,
}

/// Stock `kvm_amd` runs guests on the SVM of `Opteron_G3` and of `qemu64`. Under `EPYC` and `max`, a
/// guest's kernel dies in `prepare_creds()`.
///
/// Nested paging is left out of tests: with `+npt`, VMs whose CPUs share those of level 1 die now and
/// then in a triple fault, before their init or within a case. Of VMs with four CPUs, in turns in one
/// level 1, 6 of 12 microVMs and 1 of 12 of QEMU's microvm died; without `+npt`, none of 23 and none of
/// 8, nor any of 32 that ran eight at a time. One that was caught died of a page fault at the
/// instruction fetch of a `rep stosb`, before the guest had an IDT. The cause was not found; QEMU's VMs
/// die too, which points to the emulation or its KVM. Without nested paging, all cases with four CPUs
/// take 14 s instead of 9.
pub static X86_64: Host = Host {
    arch: Arch::X86_64,
    cpu: "Opteron_G3,+svm",
    nested_paging: ",+npt",
    options: "",
    patches: &["apic-timer.patch"],
    model: "Opteron_G3",
    target: "x86_64-unknown-linux-gnu",
    foreign: None,
};

/// EL2 is the guest's; without the host extensions of newer processors, KVM is in nVHE mode.
pub static AARCH64: Host = Host {
    arch: Arch::Aarch64,
    cpu: "cortex-a72",
    nested_paging: "",
    options: ",virtualization=on,gic-version=3",
    patches: &[],
    model: "cortex-a72",
    target: "aarch64-unknown-linux-gnu",
    foreign: Some(Foreign {
        compiler: "aarch64-linux-gnu-gcc",
        packages: "arm64",
        qemu: "qemu-system-arm",
    }),
};
