// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The host's kernel as a KERNEL argument: its name, its release, and the options that it refuses.

use crate::cli::{OptionSubject, UserOptions};
use crate::failure::Failure;
use sudbox_protocol::Arch;
use sudbox_report::Kernel;

/// The KERNEL argument that means the host's kernel.
pub(crate) const REFERENCE: &str = "running";

/// The release, as in `uname -r`.
pub(crate) fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// The release and version, as in `uname -rv`.
pub(crate) fn release_and_version() -> String {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let words = ["osrelease", "version"].map(|name| read(name).unwrap_or_default());
    words.map(|word| word.trim().to_owned()).join(" ")
}

/// The host's kernel as reports describe it.
pub(crate) fn kernel_for_report() -> Kernel {
    Kernel {
        reference: REFERENCE.to_owned(),
        release: release(),
        arch: std::env::consts::ARCH.to_owned(),
        source: "the kernel that is running here".to_owned(),
        ..Kernel::default()
    }
}

/// Refuses the options that do not apply to the host's kernel: those about VMs or building, and
/// another architecture.
///
/// # Errors
/// If such an option was given.
pub(crate) fn refuse_options(user_options: &UserOptions, arch: Arch) -> anyhow::Result<()> {
    if let Some(option) = user_options.first_with_subject(OptionSubject::Vm, &[]) {
        return Err(Failure::usage(no_vm_message(&option)));
    }
    if Some(arch) != Arch::host() {
        return Err(Failure::usage(format!(
            "--arch {}: the running kernel is for {}, the architecture of this machine",
            arch.name(),
            std::env::consts::ARCH
        )));
    }
    match user_options.first_with_subject(OptionSubject::Build, &["arch"]) {
        Some(option) => Err(Failure::usage(format!(
            "{option} is a build option, and the running kernel is built already"
        ))),
        None => Ok(()),
    }
}

/// The message that refuses an option about VMs.
pub(crate) fn no_vm_message(option: &str) -> String {
    format!("{option} is about VMs, and the running kernel is tested without one")
}
