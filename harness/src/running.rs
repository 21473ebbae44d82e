// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel of this machine as an argument: its name, and the options that do not apply to it.

use crate::cli::{self, Backend, BuildArgs, VmArgs};
use crate::failure::Failure;
use sudbox_protocol::Arch;

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

/// Refuses the options that do not apply to the kernel of this machine: those about VMs, and those
/// about building a kernel.
///
/// # Errors
/// If one was given.
pub(crate) fn refuse_options(
    vm: &VmArgs,
    build: &BuildArgs,
    patches: &[String],
) -> anyhow::Result<()> {
    let about_vms = [
        ("--backend", vm.backend != Backend::AUTO),
        ("--cpus", vm.cpus != 1),
        ("--memory", vm.memory != cli::MEMORY),
        ("--gdb", vm.gdb),
        ("--console", vm.console),
        ("--cpu-model", !vm.cpu_model.is_empty()),
        ("--append", !vm.append.is_empty()),
    ];
    if let Some((option, _)) = about_vms.iter().find(|(_, given)| *given) {
        return Err(Failure::usage(no_vm(option)));
    }
    if let Some(arch) = cli::given(&build.arch)
        && arch.parse().ok() != Arch::host()
    {
        return Err(Failure::usage(format!(
            "--arch {arch}: the kernel that is running is this machine's own, {}",
            std::env::consts::ARCH
        )));
    }
    let source = &build.source;
    let about_builds = [
        ("--patches", patches.iter().any(|path| !path.is_empty())),
        ("--flavour", !build.flavour.is_empty()),
        ("--linux", !source.linux.is_empty()),
        ("--cc", !source.toolchain.cc.is_empty()),
        ("--llvm", !source.toolchain.llvm.is_empty()),
        ("--cross-compile", !source.toolchain.cross_compile.is_empty()),
        ("--kcflags", !source.toolchain.kcflags.is_empty()),
    ];
    match about_builds.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::usage(format!(
            "{option} is about building a kernel, and the one that is running is built"
        ))),
        None => Ok(()),
    }
}

/// The message that refuses an option about VMs.
pub(crate) fn no_vm(option: &str) -> String {
    format!("{option} is about VMs, and the kernel that is running has none")
}
