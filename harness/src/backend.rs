// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The machine that kernels run on, from the table of backends.

use crate::cli::VmArgs;
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::{guest, setup};
use sudbox_images::Arch;
use sudbox_vmm::backend::{self, Offer, Refusal, Requirements};
use sudbox_vmm::machine::{BootError, Machine};

/// The machine for a run of kernels of this architecture. Installs the program that it needs, and what
/// the guest's init is built with.
///
/// # Errors
/// If no backend has what was asked for, or something cannot be installed.
pub(crate) fn machine(
    args: &VmArgs,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    ready(offer(args, arch, false)?, arch, progress)
}

/// What the backend that was asked for offers, or the first that has what is needed. With
/// `instruction_clock`, time in the guest counts instructions.
///
/// # Errors
/// If no backend has what was asked for.
pub(crate) fn offer(args: &VmArgs, arch: Arch, instruction_clock: bool) -> anyhow::Result<Offer> {
    let requirements = Requirements {
        arch,
        cpu_model: args.cpu_model.is_some(),
        gdb: args.gdb,
        instruction_clock,
    };
    backend::offer(args.backend.row(), &requirements).map_err(|refusal| match refusal {
        Refusal::Requirement(what) => Failure::usage(what),
        Refusal::Machine(why) => Failure::machine(format!(
            "{why}; `sudbox doctor` shows what was tried, and --backend auto uses QEMU's emulation"
        )),
    })
}

/// The failure of a run whose VM did not start.
pub(crate) fn boot_failure(error: BootError) -> anyhow::Error {
    match error {
        BootError::UnknownCpuModel { backend, model } => Failure::usage(format!(
            "--cpu-model {model}: {backend} has no such CPU model; `{backend} -cpu help` lists them"
        )),
        error => Failure::machine(error.to_string()),
    }
}

/// The machine that was offered. Installs its program if that is missing, and what the guest's init is
/// built with.
///
/// # Errors
/// If something cannot be installed.
pub(crate) fn ready(
    offer: Offer,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    if let Some(program) = offer.program.filter(|program| !sudbox_images::is_on_path(program)) {
        setup::install(&[setup::emulator(program, arch)], progress)?;
    }
    guest::check(arch, progress)?;
    Ok(offer.machine)
}
