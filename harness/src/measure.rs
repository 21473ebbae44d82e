// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Measuring on a kernel: which figures, on what machine, in which unit.

use crate::arch;
use crate::backend::{self, Choice};
use crate::cli::{Backend, By, VmArgs};
use crate::failure::{Code, Failure};
use crate::output::progress::Progress;
use crate::selection::{BOOT, Selection};
use std::time::Duration;
use sudbox_guest_init::bench::{NATIVE, PREFIX, TABLE};
use sudbox_images::Arch;
use sudbox_report::costs::{Costs, Unit};
use sudbox_report::{Outcome, Verdict};
use sudbox_vmm::machine::Machine;
use sudbox_vmm::processor;
use sudbox_vmm::qemu::Accelerator;

/// Without progress for so long a boot is a hang; a measurement has a sixth of it. Ten times what `run`
/// has: nothing is judged by how quick it is here, and a busy machine may take its time.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(600);

/// The measurements of these names, and the one that all are compared with.
///
/// # Errors
/// A name that none has.
pub(crate) fn select(names: &str) -> anyhow::Result<Selection> {
    let words: Vec<&str> = names.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    let all = || TABLE.iter().map(|case| case.id.trim_start_matches(PREFIX));
    if let Some(word) = words.iter().find(|word| !all().any(|name| name == **word)) {
        let all: Vec<&str> = all().collect();
        return Err(Failure::usage(format!(
            "nothing that is measured is called `{word}`: there are {}",
            all.join(" ")
        )));
    }
    let wanted = |id: &str| {
        words.is_empty() || id == NATIVE || words.contains(&id.trim_start_matches(PREFIX))
    };
    let cases = TABLE.iter().filter(|case| wanted(case.id)).collect();
    Ok(Selection { cases, boot: false })
}

/// What measures, and what its figures are.
pub(crate) struct Means {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) unit: Unit,
}

impl Means {
    /// What this machine has for kernels of this architecture.
    ///
    /// # Errors
    /// If what was asked for cannot be had here.
    pub(crate) fn of(
        by: Option<By>,
        vm: &VmArgs,
        arch: Arch,
        progress: &mut Progress,
    ) -> anyhow::Result<Means> {
        let emulated = processor::is_emulated();
        let (choice, unit) = choose(by, vm.backend, backend::choice(vm, arch)?, arch, emulated)?;
        Ok(Means { machine: backend::ready(choice, arch, progress)?, unit })
    }
}

/// Instructions are counted where QEMU emulates the processor, and where that is asked for. KVM runs
/// kernels on this machine's, which may be emulated itself.
fn choose(
    by: Option<By>,
    asked: Backend,
    choice: Choice,
    arch: Arch,
    emulated: bool,
) -> anyhow::Result<(Choice, Unit)> {
    let emulates = matches!(choice, Choice::Qemu(Accelerator::Tcg, _));
    let target = arch::of(arch);
    let unit =
        Unit::Instructions { hertz: target.counter_hertz, of_loop: target.loop_instructions };
    Ok(match (by, choice) {
        (Some(By::Time), choice) if emulates => (choice, Unit::Ratio),
        (None | Some(By::Time), choice) if !emulates => (choice, timed(emulated)),
        (_, Choice::Qemu(Accelerator::Tcg, reason)) => {
            (Choice::Qemu(Accelerator::Counting, reason), unit)
        }
        _ if asked == Backend::Kvm => {
            return Err(Failure::usage(
                "KVM counts no instructions: --by instructions goes without --backend kvm",
            ));
        }
        _ => (Choice::Qemu(Accelerator::Counting, "it counts instructions".to_owned()), unit),
    })
}

/// What may be said of times: none of an emulated processor.
pub(crate) fn timed(emulated: bool) -> Unit {
    if emulated { Unit::Ratio } else { Unit::Nanoseconds }
}

/// What was measured.
///
/// # Errors
/// If the kernel did not get to it, or if the figures make no sense.
pub(crate) fn costs_of(verdict: &Verdict, unit: Unit) -> anyhow::Result<Costs> {
    let unjudged =
        |message: String| -> anyhow::Error { Failure { code: Code::Unjudged, message }.into() };
    if let Some(why) = &verdict.unjudged {
        return Err(unjudged(why.clone()));
    }
    let needed = |id| verdict.cases.iter().find(|case| case.id == id);
    if let Some(case) =
        [BOOT, NATIVE].into_iter().filter_map(needed).find(|case| case.outcome != Outcome::Pass)
    {
        let (id, outcome) = (&case.id, case.outcome.as_str());
        return Err(unjudged(format!("nothing can be measured: {id}: {outcome}: {}", case.got)));
    }
    Costs::of(verdict, unit, PREFIX, NATIVE).map_err(|error| Failure::machine(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_itself_and_what_it_is_compared_with() {
        let ids = |words| -> Vec<&str> {
            select(words).unwrap().cases.iter().map(|case| case.id).collect()
        };
        assert_eq!(ids("round-trip"), [NATIVE, "bench/round-trip"]);
        assert_eq!(ids("").len(), TABLE.len());
        let error = select("round-trip,roundtrip").unwrap_err();
        assert!(error.to_string().contains("`roundtrip`"), "{error}");
    }

    #[test]
    fn nanoseconds_are_those_of_a_processor() {
        let tcg = || Choice::Qemu(Accelerator::Tcg, "why".to_owned());
        let kvm = || Choice::MicroVm("why".to_owned());
        let of = |by, asked, choice| choose(by, asked, choice, Arch::X86_64, false);
        let auto = Backend::Auto;
        assert_eq!(of(None, auto, kvm()).unwrap().1, Unit::Nanoseconds);
        let nested = choose(None, auto, kvm(), Arch::X86_64, true).unwrap();
        assert_eq!(nested, (kvm(), Unit::Ratio), "KVM on an emulated machine");
        assert_eq!(of(Some(By::Time), auto, tcg()).unwrap(), (tcg(), Unit::Ratio));
        for (by, choice) in
            [(None, tcg()), (Some(By::Instructions), tcg()), (Some(By::Instructions), kvm())]
        {
            let (choice, unit) = of(by, auto, choice).unwrap();
            assert!(matches!(choice, Choice::Qemu(Accelerator::Counting, _)), "{choice:?}");
            assert!(matches!(unit, Unit::Instructions { of_loop: 3, .. }), "{unit:?}");
        }
        assert!(of(Some(By::Instructions), Backend::Kvm, kvm()).is_err());
    }
}
