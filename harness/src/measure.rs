// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Selects benchmarks, the machine that runs them, and the unit of their costs.

use crate::arch;
use crate::backend;
use crate::cli::{CostUnit, VmArgs};
use crate::failure::{Code, Failure};
use crate::output::progress::Progress;
use crate::selection::{BOOT_CASE, Selection};
use std::time::Duration;
use sudbox_guest_init::bench::{NATIVE, PREFIX, TABLE};
use sudbox_images::Arch;
use sudbox_report::costs::{Costs, Unit};
use sudbox_report::{Outcome, Verdict};
use sudbox_vmm::backend::Clock;
use sudbox_vmm::machine::Machine;
use sudbox_vmm::processor;

/// Time without progress after which a boot is a hang; the deadline of a benchmark is a sixth of
/// it. It is ten times the default of `run`, because a slow measurement is no failure.
pub(crate) const BENCHMARK_TIMEOUT: Duration = Duration::from_secs(600);

/// Selects the benchmarks with these names, and `native`, to which the costs of all benchmarks are
/// compared. An empty text selects all benchmarks.
///
/// # Errors
/// If no benchmark has one of the names.
pub(crate) fn select_benchmarks(names: &str) -> anyhow::Result<Selection> {
    let words: Vec<&str> = names.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    let all_names = || TABLE.iter().map(|case| case.id.trim_start_matches(PREFIX));
    if let Some(word) = words.iter().find(|word| !all_names().any(|name| name == **word)) {
        let all_names: Vec<&str> = all_names().collect();
        return Err(Failure::usage(format!(
            "no benchmark is called `{word}`: there are {}",
            all_names.join(" ")
        )));
    }
    let is_selected = |id: &str| {
        words.is_empty() || id == NATIVE || words.contains(&id.trim_start_matches(PREFIX))
    };
    let cases = TABLE.iter().filter(|case| is_selected(case.id)).collect();
    Ok(Selection { cases, includes_boot: false })
}

/// A machine for benchmarks, and the unit of their costs.
pub(crate) struct MeasuringMachine {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) unit: Unit,
}

impl MeasuringMachine {
    /// Chooses the machine for kernels of this architecture, and the unit of `--by` or the best
    /// one.
    ///
    /// # Errors
    /// If no backend meets the request, or something cannot be installed.
    pub(crate) fn choose(
        requested_unit: Option<CostUnit>,
        vm: &VmArgs,
        arch: Arch,
        progress: &mut Progress,
    ) -> anyhow::Result<MeasuringMachine> {
        let offer = backend::choose_offer(vm, arch)?;
        let unit = cost_unit(requested_unit, offer.clock, arch, processor::is_emulated());
        let offer = match unit {
            Unit::Instructions { .. } => backend::choose_offer_with_instruction_clock(vm, arch)?,
            _ => offer,
        };
        Ok(MeasuringMachine { machine: backend::install_program(offer, arch, progress)?, unit })
    }
}

/// The unit of costs from a guest with this clock: instructions on an emulator or on request, else
/// time. With KVM, `is_emulated` tells whether the processor of this machine is itself emulated.
fn cost_unit(
    requested_unit: Option<CostUnit>,
    clock: Clock,
    arch: Arch,
    is_emulated: bool,
) -> Unit {
    match (requested_unit, clock) {
        (Some(CostUnit::Time), Clock::Emulator) => Unit::Ratio,
        (None | Some(CostUnit::Time), Clock::Processor) => time_unit(is_emulated),
        _ => {
            let target = arch::target_of(arch);
            Unit::Instructions {
                hertz: target.counter_hertz,
                loop_instructions: target.loop_instructions,
            }
        }
    }
}

/// The unit for measured time: ratios if this machine's processor is emulated, else nanoseconds.
pub(crate) fn time_unit(is_emulated: bool) -> Unit {
    if is_emulated { Unit::Ratio } else { Unit::Nanoseconds }
}

/// Extracts the costs from a verdict.
///
/// # Errors
/// If the kernel was not judged, or failed before the benchmarks, or if the costs are inconsistent.
pub(crate) fn costs_of(verdict: &Verdict, unit: Unit) -> anyhow::Result<Costs> {
    let unjudged =
        |message: String| -> anyhow::Error { Failure { code: Code::Unjudged, message }.into() };
    if let Some(reason) = &verdict.unjudged_reason {
        return Err(unjudged(reason.clone()));
    }
    let case_with_id = |id| verdict.cases.iter().find(|case| case.id == id);
    if let Some(case) = [BOOT_CASE, NATIVE]
        .into_iter()
        .filter_map(case_with_id)
        .find(|case| case.outcome != Outcome::Pass)
    {
        let (id, outcome) = (&case.id, case.outcome.as_str());
        return Err(unjudged(format!("nothing can be measured: {id}: {outcome}: {}", case.detail)));
    }
    Costs::from_verdict(verdict, unit, PREFIX, NATIVE)
        .map_err(|error| Failure::machine(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_itself_and_what_it_is_compared_with() {
        let ids = |words| -> Vec<&str> {
            select_benchmarks(words).unwrap().cases.iter().map(|case| case.id).collect()
        };
        assert_eq!(ids("round-trip"), [NATIVE, "bench/round-trip"]);
        assert_eq!(ids("").len(), TABLE.len());
        let error = select_benchmarks("round-trip,roundtrip").unwrap_err();
        assert!(error.to_string().contains("`roundtrip`"), "{error}");
    }

    #[test]
    fn nanoseconds_are_those_of_a_processor() {
        let of = |by, clock, emulated| cost_unit(by, clock, Arch::X86_64, emulated);
        let (time, counted) = (Some(CostUnit::Time), Some(CostUnit::Instructions));
        assert_eq!(of(None, Clock::Processor, false), Unit::Nanoseconds);
        assert_eq!(of(None, Clock::Processor, true), Unit::Ratio, "KVM on an emulated machine");
        assert_eq!(of(time, Clock::Emulator, false), Unit::Ratio);
        for (by, clock) in
            [(None, Clock::Emulator), (counted, Clock::Emulator), (counted, Clock::Processor)]
        {
            let unit = of(by, clock, false);
            assert!(matches!(unit, Unit::Instructions { loop_instructions: 3, .. }), "{unit:?}");
        }
    }
}
