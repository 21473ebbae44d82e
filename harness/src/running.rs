// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel of this machine as an argument: its name, and the options that do not apply to it.

use crate::cli::{Backend, BuildArgs, VmArgs};
use crate::failure::Failure;

/// The word that names this kernel on the command line.
pub(crate) const NAME: &str = "running";

/// The output of `uname -r`.
pub(crate) fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// The build of the running kernel, `uname -rv`.
pub(crate) fn build() -> String {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let words = ["osrelease", "version"].map(|name| read(name).unwrap_or_default());
    words.map(|word| word.trim().to_owned()).join(" ")
}

/// Refuses an option that is about VMs.
pub(crate) fn refuse_vm_options(
    vm: &VmArgs,
    build: &BuildArgs,
    patches: &[String],
) -> anyhow::Result<()> {
    let options = [
        ("--backend", vm.backend != Backend::AUTO),
        ("--gdb", vm.gdb),
        ("--console", vm.console),
        ("--cpu-model", !vm.cpu_model.is_empty()),
        ("--append", !vm.append.is_empty()),
        ("--patches", patches.iter().any(|path| !path.is_empty())),
        ("--flavour", !build.flavour.is_empty()),
    ];
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::usage(about_vms(option))),
        None => Ok(()),
    }
}

pub(crate) fn about_vms(option: &str) -> String {
    format!("{option} is about VMs, and the kernel that is running has none")
}
