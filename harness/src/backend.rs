// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Chooses the machine that boots kernels from the table of backends.

use crate::cli::VmArgs;
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::{guest, setup};
use sudbox_images::Arch;
use sudbox_vmm::backend::{self, Offer, Refusal, Requirements};
use sudbox_vmm::machine::{BootError, Machine};

/// Chooses a machine for kernels of this architecture. Installs the program that the machine needs,
/// and the tools that build guest-init.
///
/// # Errors
/// If no backend meets the request, or something cannot be installed.
pub(crate) fn prepare_machine(
    args: &VmArgs,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    install_program(choose_offer(args, arch)?, arch, progress)
}

/// Chooses the backend of `--backend`, or the first backend that runs kernels of this architecture.
///
/// # Errors
/// If no backend meets the request.
pub(crate) fn choose_offer(args: &VmArgs, arch: Arch) -> anyhow::Result<Offer> {
    choose_offer_with_clock(args, arch, false)
}

/// Like [`choose_offer`], for a guest whose clock counts instructions.
///
/// # Errors
/// If no backend meets the request.
pub(crate) fn choose_offer_with_instruction_clock(
    args: &VmArgs,
    arch: Arch,
) -> anyhow::Result<Offer> {
    choose_offer_with_clock(args, arch, true)
}

fn choose_offer_with_clock(
    args: &VmArgs,
    arch: Arch,
    clock_counts_instructions: bool,
) -> anyhow::Result<Offer> {
    let requirements = Requirements {
        arch,
        names_cpu_model: args.cpu_model.is_some(),
        waits_for_gdb: args.gdb,
        clock_counts_instructions,
    };
    backend::offer(args.backend.table_row(), &requirements).map_err(|refusal| match refusal {
        Refusal::UnmetRequirement(message) => Failure::usage(message),
        Refusal::UnusableHost(reason) => Failure::machine(format!(
            "{reason}; `sudbox doctor` shows what was tried, and --backend auto uses QEMU's emulation"
        )),
    })
}

/// Turns a boot error into a failure with an exit code.
pub(crate) fn boot_failure(error: BootError) -> anyhow::Error {
    match error {
        BootError::UnknownCpuModel { backend, model } => Failure::usage(format!(
            "--cpu-model {model}: {backend} has no such CPU model; `{backend} -cpu help` lists them"
        )),
        error => Failure::machine(error.to_string()),
    }
}

/// Installs the program of the chosen backend if it is missing, and the tools that build
/// guest-init. Returns the machine.
///
/// # Errors
/// If something cannot be installed.
pub(crate) fn install_program(
    offer: Offer,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    if let Some(program) =
        offer.required_program.filter(|program| !sudbox_images::is_on_path(program))
    {
        setup::install(&[setup::backend_program(program, arch)], progress)?;
    }
    guest::install_requirements(arch, progress)?;
    if let Some(note) = offer.machine.note() {
        progress.print("note", &note);
    }
    Ok(offer.machine)
}
