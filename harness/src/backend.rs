// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What to run kernels on: the microVM on KVM, QEMU on KVM or QEMU's own emulation.

use crate::cli::{self, Backend, VmArgs};
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::{arch, guest, setup};
use sudbox_images::Arch;
use sudbox_vmm::machine::Machine;
use sudbox_vmm::probe::{Finding, Probe, probe};
use sudbox_vmm::qemu::{self, Accelerator, Qemu};

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The microVM.
    MicroVm(String),
    /// QEMU on an accelerator.
    Qemu(Accelerator, String),
}

/// What a run asks for beside a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// A CPU model of QEMU's.
    pub(crate) cpu_model: bool,
    /// A debugger.
    pub(crate) gdb: bool,
}

/// The machine for a run of kernels of this architecture. Installs QEMU if that is chosen and missing,
/// and what the guest's init is built with.
///
/// # Errors
/// If what was asked for cannot be had here.
pub(crate) fn machine(
    args: &VmArgs,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    ready(choice(args, arch)?, arch, progress)
}

/// What a run of kernels of this architecture gets.
///
/// # Errors
/// If what was asked for cannot be had here.
pub(crate) fn choice(args: &VmArgs, arch: Arch) -> anyhow::Result<Choice> {
    if arch::is_own(arch) { here(args) } else { emulated(args, arch) }
}

/// The machine that was chosen. Installs QEMU if that is it and missing.
///
/// # Errors
/// If it cannot be installed.
pub(crate) fn ready(
    choice: Choice,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<Box<dyn Machine>> {
    let program = setup::qemu(arch);
    if matches!(choice, Choice::Qemu(..)) && !setup::on_path(&program.name) {
        setup::install(&[program], progress)?;
    }
    guest::check(arch, progress)?;
    Ok(of(choice, arch))
}

/// What emulates a processor of another architecture than this machine's.
fn emulated(args: &VmArgs, arch: Arch) -> anyhow::Result<Choice> {
    if args.backend == Backend::Kvm {
        return Err(Failure::usage(format!(
            "{} kernels do not run on this machine's processor: KVM is of no use to them",
            arch.name()
        )));
    }
    Ok(Choice::Qemu(Accelerator::Tcg, format!("this machine is no {}", arch.name())))
}

/// What is chosen for kernels of this machine's own architecture.
fn here(args: &VmArgs) -> anyhow::Result<Choice> {
    // Before the probe: both take 10 ms where QEMU's emulation is what comes of it.
    qemu::start_clock();
    let wishes = Wishes { cpu_model: cli::given(&args.cpu_model).is_some(), gdb: args.gdb };
    // An emulated CPU needs no KVM, and what need not be asked costs nothing.
    let probe = match args.backend {
        Backend::Tcg => None,
        _ if wishes.cpu_model && args.backend != Backend::Kvm => None,
        _ => Some(probe()),
    };
    choose(args.backend, wishes, probe.as_ref())
}

/// The machine that was chosen.
pub(crate) fn of(choice: Choice, arch: Arch) -> Box<dyn Machine> {
    match choice {
        Choice::Qemu(accelerator, reason) => Box::new(Qemu::new(arch, accelerator, reason)),
        #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
        Choice::MicroVm(reason) => Box::new(sudbox_vmm::kvm::Kvm::new(reason)),
        #[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
        Choice::MicroVm(_) => unreachable!("the probe finds KVM usable on no other machine"),
    }
}

/// Chooses. `None` of a probe means that its answer could change nothing.
pub(crate) fn choose(
    backend: Backend,
    wishes: Wishes,
    probe: Option<&Probe>,
) -> anyhow::Result<Choice> {
    let finding = probe.map(|probe| &probe.finding);
    let usable = finding.is_some_and(Finding::is_usable);
    let tried = probe.map_or_else(String::new, |probe| {
        format!("{}, tried in {:.1} ms", probe.finding, probe.took.as_secs_f64() * 1000.0)
    });
    match backend {
        Backend::Kvm if wishes.cpu_model => Err(Failure::usage(
            "the microVM's CPU is this machine's: --cpu-model goes with --backend qemu".to_owned(),
        )),
        Backend::Kvm if wishes.gdb => Err(Failure::usage(
            "the microVM has no debugger's stub: --gdb goes with --backend qemu".to_owned(),
        )),
        Backend::Kvm if usable => Ok(Choice::MicroVm(tried)),
        Backend::Kvm => Err(Failure::machine(format!(
            "{}; `sudbox doctor` shows what was tried, and --backend auto uses QEMU's emulation",
            finding.map_or_else(String::new, ToString::to_string)
        ))),
        Backend::Tcg => Ok(Choice::Qemu(Accelerator::Tcg, "asked for".to_owned())),
        Backend::Auto | Backend::Qemu if wishes.cpu_model => {
            let reason = "it emulates the CPU model that was asked for".to_owned();
            Ok(Choice::Qemu(Accelerator::Tcg, reason))
        }
        Backend::Auto if usable && !wishes.gdb => Ok(Choice::MicroVm(tried)),
        Backend::Auto | Backend::Qemu if usable => Ok(Choice::Qemu(Accelerator::Kvm, tried)),
        Backend::Auto | Backend::Qemu => {
            let accelerator = match finding {
                Some(finding) if finding.may_do_for_qemu() => Accelerator::Kvm,
                _ => Accelerator::Tcg,
            };
            Ok(Choice::Qemu(accelerator, tried))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use sudbox_vmm::probe::Stop;

    const PLAIN: Wishes = Wishes { cpu_model: false, gdb: false };

    fn chosen(backend: Backend, wishes: Wishes, finding: Finding) -> Result<Choice, u8> {
        let probe = Probe { finding, trace: Vec::new(), took: Duration::from_micros(1250) };
        choose(backend, wishes, Some(&probe)).map_err(|error| crate::failure::code(&error) as u8)
    }

    fn pvm() -> Finding {
        Finding::Broken { exit: "shutdown".to_owned() }
    }

    #[test]
    fn what_works_is_used_and_what_does_not_is_named() {
        let Ok(Choice::MicroVm(reason)) = chosen(Backend::Auto, PLAIN, Finding::Usable) else {
            panic!()
        };
        assert_eq!(reason, "/dev/kvm runs kernels, tried in 1.2 ms");
        let Ok(Choice::Qemu(Accelerator::Tcg, reason)) = chosen(Backend::Auto, PLAIN, pvm()) else {
            panic!()
        };
        assert!(reason.starts_with("/dev/kvm does not work: shutdown"), "{reason}");
    }

    #[test]
    fn qemu_gets_kvm_where_that_could_differ() {
        let lacks = || Finding::Unsupported { stop: Stop::Lacks("irqfd".to_owned()) };
        for backend in [Backend::Auto, Backend::Qemu] {
            let choice = chosen(backend, PLAIN, lacks());
            assert!(matches!(choice, Ok(Choice::Qemu(Accelerator::Kvm, _))), "{choice:?}");
        }
        let gdb = Wishes { gdb: true, ..PLAIN };
        let choice = chosen(Backend::Auto, gdb, Finding::Usable);
        assert!(matches!(choice, Ok(Choice::Qemu(Accelerator::Kvm, _))), "{choice:?}");
    }

    #[test]
    fn a_model_is_emulated() {
        let model = Wishes { cpu_model: true, ..PLAIN };
        let choice = choose(Backend::Auto, model, None);
        assert!(matches!(choice, Ok(Choice::Qemu(Accelerator::Tcg, _))));
    }

    #[test]
    fn what_was_insisted_on_and_cannot_be_had_is_an_error() {
        assert_eq!(chosen(Backend::Kvm, PLAIN, pvm()), Err(128));
        let gdb = Wishes { gdb: true, ..PLAIN };
        assert_eq!(chosen(Backend::Kvm, gdb, Finding::Usable), Err(129));
    }
}
