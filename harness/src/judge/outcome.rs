// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Makes a `CaseReport` from the result of a case, or from the end of its VM, and the expectations
//! for the kernel.

use super::{CaseRunner, Environment};
use crate::expectations::{Expectations, Expected};
use crate::known_bugs::{KnownBug, Presence};
use crate::selection::{BOOT_CASE, BOOT_KERNEL_FUNCTION, BOOT_PROMISE};
use crate::session::cases::{CasesRun, EndedCase};
use crate::session::conversation::{Conversation, Ending};
use crate::session::kernel_log;
use crate::session::running_guest::MachineFault;
use crate::symbols::Symbols;
use sudbox_guest_init::case::{Case, Need, Run};
use sudbox_guest_init::walk;
use sudbox_protocol::{CaseResult, Feature};
use sudbox_report::{Bug, CaseReport, Outcome};
use sudbox_vmm::machine::VmEnd;

impl CaseRunner<'_> {
    /// The report on a case that ended by itself.
    ///
    /// # Errors
    /// If sudbox could not run the case.
    pub(super) fn case_report(
        &self,
        case: &'static Case,
        ended: EndedCase,
        expectations: &Expectations,
    ) -> Result<CaseReport, MachineFault> {
        let mut report = self.empty_report(case);
        report.duration_micros = ended.micros;
        report.log = ended.log;
        let bugs = case.known_bugs.iter().filter_map(|id| expectations.known_bug(id));
        let bugs: Vec<_> = bugs.collect();
        let mut reported_bug = None;
        let mut report_bug = |bug: &KnownBug| {
            reported_bug = Some(Bug { id: bug.id.to_owned(), citation: bug.citation.to_owned() });
        };
        let (outcome, expected, detail) = match (ended.result, bugs.first()) {
            (CaseResult::Pass, Some((bug, Presence::Certain))) => {
                report_bug(bug);
                (Outcome::Fixed, String::new(), format!("{}: {}", bug.id, bug.citation))
            }
            (CaseResult::Pass, _) => (Outcome::Pass, String::new(), String::new()),
            (CaseResult::Fail { expected, got }, first_bug) => {
                match bugs.iter().find(|(bug, _)| bug.matches_failure(case.id, &got)) {
                    Some((bug, _)) => {
                        report_bug(bug);
                        (Outcome::Known, expected, format!("{got} ({}: {})", bug.id, bug.citation))
                    }
                    None => {
                        report.log.extend(first_bug.map(|(bug, _)| {
                            format!(
                                "not the symptom of the recorded bug {}: {}",
                                bug.id, bug.citation
                            )
                        }));
                        (Outcome::Fail, expected, got)
                    }
                }
            }
            (CaseResult::Absent(feature), _) => match expectations.expected_feature(feature) {
                Expected::Present => (
                    Outcome::Fail,
                    format!("this kernel offers {feature}"),
                    format!("{feature} is not there"),
                ),
                Expected::Absent | Expected::Unknown => {
                    (Outcome::Absent, String::new(), feature.to_string())
                }
            },
            // Some features are not in `Hello`, because only a case can detect them.
            (CaseResult::Unmet(requirement), _) if expectations.should_lack(&requirement) => {
                (Outcome::Absent, String::new(), requirement)
            }
            (CaseResult::Unmet(requirement), _) => {
                let is_refused_by_sudbox = matches!(self.environment, Environment::HostKernel)
                    && requirement == Need::Root.to_string();
                let requirement = if is_refused_by_sudbox {
                    format!("{requirement} (never used on the kernel of this machine; a VM has it)")
                } else {
                    requirement
                };
                (Outcome::Unmet, String::new(), requirement)
            }
            (CaseResult::Hang, _) => (
                Outcome::Hang,
                format!("an end within {} s", self.case_deadline.as_secs_f32()),
                "none; its processes were killed".to_owned(),
            ),
            (CaseResult::Broken(reason), _) => {
                return Err(MachineFault(format!(
                    "a fault of sudbox, not of the kernel: the case could not be run: {reason}"
                )));
            }
        };
        (report.outcome, report.expected, report.detail) = (outcome, expected, detail);
        report.bug = reported_bug;
        if let Some(fault) = ended.kernel_fault {
            report.outcome =
                if fault.invalidates_later_cases() { Outcome::Crash } else { Outcome::Fail };
            report.expected = "no fault reported by the kernel".to_owned();
            report.detail = fault.headline;
            report.bug = None;
            report.console = Some(self.with_symbols(&fault.excerpt));
        }
        Ok(report)
    }

    /// The report on the case during which the VM ended.
    pub(super) fn death_report(&self, case: &'static Case, run: &CasesRun) -> CaseReport {
        let mut report = self.empty_report(case);
        let conversation = &run.conversation;
        report.outcome = match conversation.ending {
            Ending::Stalled if kernel_log::scan(&conversation.console).is_none() => Outcome::Hang,
            _ => Outcome::Crash,
        };
        report.expected = "the kernel goes on".to_owned();
        report.detail = conversation.cause();
        report.log.clone_from(&run.running_case_log);
        report.console = Some(self.console_excerpt(conversation)).filter(|text| !text.is_empty());
        report
    }

    /// The excerpt of the console that a report shows, with the registers of a VM that crashed.
    pub(super) fn console_excerpt(&self, conversation: &Conversation) -> String {
        let mut text = match kernel_log::scan(&conversation.console) {
            Some(fault) => fault.excerpt,
            None => last_lines(&conversation.console, 40),
        };
        if let Some(VmEnd::TripleFault(registers) | VmEnd::VcpuError { registers, .. }) =
            &conversation.vm_end
        {
            text.push('\n');
            text.push_str(registers);
        }
        self.with_symbols(text.trim())
    }

    /// `text` with the function names of the kernel addresses in it, if there is a vmlinux.
    pub(super) fn with_symbols(&self, text: &str) -> String {
        let symbols = self.vmlinux.as_deref().and_then(|path| Symbols::open(path).ok());
        symbols.map_or_else(|| text.to_owned(), |symbols| symbols.symbolise(text))
    }

    fn empty_report(&self, case: &Case) -> CaseReport {
        CaseReport {
            id: case.id.to_owned(),
            promise: case.promise.to_owned(),
            kernel_function: case.kernel_function.to_owned(),
            outcome: Outcome::Pass,
            expected: String::new(),
            detail: String::new(),
            bug: None,
            log: Vec::new(),
            console: None,
            rerun: self.rerun.for_case(case),
            duration_micros: 0,
        }
    }

    /// The report on [`BOOT_CASE`].
    pub(super) fn boot_report(
        &self,
        outcome: Outcome,
        detail: String,
        console: Option<String>,
    ) -> CaseReport {
        CaseReport {
            id: BOOT_CASE.to_owned(),
            promise: BOOT_PROMISE.to_owned(),
            kernel_function: BOOT_KERNEL_FUNCTION.to_owned(),
            outcome,
            expected: "a greeting from guest-init over vsock".to_owned(),
            detail,
            bug: None,
            log: Vec::new(),
            console: console.filter(|text| !text.trim().is_empty()),
            rerun: self.rerun.for_boot(),
            duration_micros: 0,
        }
    }
}

/// Adds the steps of a failed walk to a report without a log. Only a walk that ended as `fail` logs
/// its steps itself.
pub(super) fn add_walk_steps(report: &mut CaseReport, case: &Case, features: &[Feature]) {
    if let Run::Walk(seeds) = case.run
        && report.outcome.is_failure()
        && report.log.is_empty()
    {
        report.log = walk::text(seeds, features).lines().map(str::to_owned).collect();
    }
}

/// Adds a report. Of two reports on the same case, keeps only the one with the worse outcome.
pub(super) fn add_or_keep_worse(cases: &mut Vec<CaseReport>, report: CaseReport) {
    match cases.iter_mut().find(|other| other.id == report.id) {
        // `Outcome` orders from the worst to the best.
        Some(other) if report.outcome < other.outcome => *other = report,
        Some(_) => {}
        None => cases.push(report),
    }
}

/// The last `count` lines of a text.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
