// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the selected cases in VMs, several at a time if CPUs and memory allow, and compares their
//! results with the expectations.

mod changed;
mod group;
#[cfg(test)]
mod lying;
mod outcome;
mod shape;
mod trace;

use crate::behaviour::Recorder;
use crate::cli::VmArgs;
use crate::expectations::{Expectations, Expected};
use crate::failure::{self, Code, Failure, Incomplete};
use crate::output::progress::Progress;
use crate::output::rerun::RerunCommand;
use crate::recordings::Baseline;
use crate::selection::Selection;
use crate::session::cases::Timeouts;
#[cfg(test)]
use group::MAX_FAULTY_VMS;
use group::{BootResult, CaseFault, GroupResult, GroupRunner, RunProgress};
use shape::{CaseGroup, VmShape, group_cases};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sudbox_guest_init::case::Case;
use sudbox_protocol::{Feature, Hello};
use sudbox_report::{CaseReport, Outcome, Verdict};
use sudbox_vmm::machine::{Machine, VmSpec};

/// Boot arguments of runs without `--console`. The kernel panics at an oops and restarts at a
/// panic, so that the running case is blamed. Without KASLR, addresses are those of vmlinux. Each
/// byte on the console costs time, so the kernel prints only warnings and more severe messages.
/// `quiet` would also hide the warnings of WARN() and lockdep.
const ARGUMENTS_OF_QUIET_CONSOLE: &str = "loglevel=5 panic=-1 oops=panic nokaslr";

/// Boot arguments of runs with `--console`: the log level is the default
/// (`CONSOLE_LOGLEVEL_DEFAULT`).
const ARGUMENTS_OF_SHOWN_CONSOLE: &str = "loglevel=7 panic=-1 oops=panic nokaslr";

/// The boot arguments that sudbox adds.
pub(crate) fn boot_arguments(vm: &VmArgs) -> &'static str {
    if vm.console { ARGUMENTS_OF_SHOWN_CONSOLE } else { ARGUMENTS_OF_QUIET_CONSOLE }
}

/// Runs cases and judges how they end.
#[derive(Clone)]
pub(crate) struct CaseRunner<'a> {
    pub(crate) environment: Environment<'a>,
    /// The vmlinux with the symbols for addresses in registers and traces.
    pub(crate) vmlinux: Option<PathBuf>,
    pub(crate) timeouts: Timeouts,
    pub(crate) case_deadline: Duration,
    pub(crate) runs_per_case: u32,
    /// Run every case in a VM of its own.
    pub(crate) isolate_cases: bool,
    /// Maximum number of VMs that run at a time.
    pub(crate) max_parallel_vms: usize,
    /// Boot arguments, from [`boot_arguments`].
    pub(crate) boot_arguments: &'static str,
    /// Show the console while the guest runs.
    pub(crate) show_console: bool,
    pub(crate) rerun: RerunCommand,
    /// Collects the observations of the cases; `None` if they are not recorded.
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// The recordings with which the observations are compared, or the reason why there are none;
    /// `None` if the observations are not compared.
    pub(crate) baseline: Option<Result<Arc<Baseline>, String>>,
    /// The guests that a test plays instead of those of `environment`.
    #[cfg(test)]
    pub(crate) liars: Option<&'a lying::Liars>,
}

/// The kernel that the cases run on.
#[derive(Clone)]
pub(crate) enum Environment<'a> {
    /// The kernel of `spec`, in VMs of `machine`.
    Vm { machine: &'a dyn Machine, spec: VmSpec },
    /// The host's kernel, without a VM.
    HostKernel,
}

/// The results of a group, and whether its VMs booted.
type GroupRun = (GroupResult, anyhow::Result<BootResult>);

impl CaseRunner<'_> {
    /// Runs the selection and fills in the verdict. Adds the output of all consoles to
    /// `console_log`, even if it returns an error.
    ///
    /// # Errors
    /// If this machine is at fault, or a signal interrupted the run; [`Incomplete`] if at least one
    /// case has a result.
    pub(crate) fn judge(
        &self,
        selection: &Selection,
        expectations: &mut Expectations,
        verdict: &mut Verdict,
        console_log: &mut String,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let lacks_dispatch = expectations.expected_feature(Feature::Dispatch) == Expected::Absent;
        let groups = self.case_groups(selection, expectations, lacks_dispatch)?;
        verdict.not_selected = selection.count_not_selected(expectations.arch(), lacks_dispatch);
        let mut boot_result = Ok(BootResult::Booted);
        let (mut digests, mut first_hello) = (Vec::new(), None);
        let mut machine_faults: Vec<CaseFault> = Vec::new();
        for (result, group_boot_result) in self.run_groups(&groups, expectations, progress) {
            verdict.cases.extend(result.cases);
            verdict.measurements.extend(result.measurements);
            verdict.boots += result.boots;
            verdict.restored += result.restored;
            console_log.push_str(&result.console_log);
            digests.extend(result.digests);
            machine_faults.extend(result.machine_faults);
            if let Some(hello) = &result.hello {
                first_hello.get_or_insert_with(|| hello.clone());
                expectations.update(&hello.release, &hello.features);
                if verdict.guest_facts.is_empty() {
                    describe_guest(hello, verdict);
                    if let Some(recorder) = &self.recorder {
                        recorder.add_guest_facts(hello);
                    }
                }
            }
            if verdict.unjudged_reason.is_none() {
                verdict.unjudged_reason = result.unjudged_reason;
            }
            if matches!(boot_result, Ok(BootResult::Booted | BootResult::FailedInAnotherGroup)) {
                boot_result = group_boot_result;
            }
        }
        if let (Some(hello), Ok(BootResult::Booted)) = (&first_hello, &boot_result)
            && let Err(error) = self.compare_with_recordings(
                &digests,
                hello,
                expectations,
                verdict,
                console_log,
                progress,
            )
        {
            boot_result = Err(error);
        }
        verdict.duration_millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // The groups end in any order. Reports are in the order of the selection.
        let position =
            |report: &CaseReport| selection.cases.iter().position(|case| case.id == report.id);
        verdict.cases.sort_by_key(position);
        if verdict.unjudged_reason.is_none() {
            verdict.unjudged_reason = expectations.unjudged_reason(&verdict.cases);
        }
        let planned_count = planned_cases(selection, lacks_dispatch).len();
        let run_count = verdict.cases.len();
        let boot_result = match boot_result {
            Ok(result) => result,
            Err(error) => {
                let is_boot_tested = selection.includes_boot && first_hello.is_some();
                if is_boot_tested && failure::error_code(&error) == Code::Machine {
                    verdict.cases.insert(0, self.boot_report(Outcome::Pass, String::new(), None));
                }
                return Err(incomplete(error, verdict, run_count, planned_count));
            }
        };
        match boot_result {
            BootResult::Booted if selection.includes_boot => {
                verdict.cases.insert(0, self.boot_report(Outcome::Pass, String::new(), None));
            }
            BootResult::Booted | BootResult::FailedInAnotherGroup => {}
            BootResult::Failed { actual, console } => {
                let report = self.boot_report(Outcome::Fail, actual, Some(console));
                verdict.cases.insert(0, report);
            }
        }
        match machine_faults_failure(&machine_faults) {
            Some(error) => Err(incomplete(error, verdict, run_count, planned_count)),
            None => Ok(()),
        }
    }

    /// The groups of the selection; a single one on the host's kernel. Cases for kernels without
    /// dispatch are included only if `lacks_dispatch`.
    ///
    /// # Errors
    /// If no case is left and booting was not selected.
    fn case_groups(
        &self,
        selection: &Selection,
        expectations: &Expectations,
        lacks_dispatch: bool,
    ) -> anyhow::Result<Vec<CaseGroup>> {
        let cases = planned_cases(selection, lacks_dispatch);
        if cases.is_empty() && !selection.includes_boot {
            return Err(Failure::usage(match selection.cases.first() {
                Some(case) => format!(
                    "{} is about kernels without dispatch, but this kernel should have it: no case is \
                     left",
                    case.id
                ),
                None => "no case is selected".to_owned(),
            }));
        }
        Ok(match &self.environment {
            Environment::HostKernel => vec![CaseGroup { shape: VmShape::default(), cases }],
            Environment::Vm { spec, .. } if cases.is_empty() => {
                vec![CaseGroup { shape: VmShape::with_cpus(spec.cpus), cases }]
            }
            Environment::Vm { spec, .. } => group_cases(&cases, spec.cpus, |feature| {
                expectations.expected_feature(feature) == Expected::Absent
            }),
        })
    }

    /// Runs the groups, `max_parallel_vms` at a time. After a group that did not boot or had an
    /// error, no further group is started.
    fn run_groups(
        &self,
        groups: &[CaseGroup],
        expectations: &Expectations,
        progress: &mut Progress,
    ) -> Vec<GroupRun> {
        let case_count: usize = groups.iter().map(|group| group.cases.len()).sum();
        let progress =
            RunProgress::new(progress, case_count as u64 * u64::from(self.runs_per_case));
        let (next_index, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let results: Vec<Mutex<Option<GroupRun>>> =
            groups.iter().map(|_| Mutex::new(None)).collect();
        let run_next_groups = || {
            while !stop.load(Ordering::SeqCst) {
                let index = next_index.fetch_add(1, Ordering::SeqCst);
                let Some(group) = groups.get(index) else { break };
                let result = GroupRunner::new(self, group, expectations.clone(), &progress).run();
                if !matches!(result.1, Ok(BootResult::Booted)) || result.0.unjudged_reason.is_some()
                {
                    stop.store(true, Ordering::SeqCst);
                }
                if let Ok(mut slot) = results[index].lock() {
                    *slot = Some(result);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.max_parallel_vms.min(groups.len()) {
                scope.spawn(run_next_groups);
            }
        });
        results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
    }
}

/// The cases of the selection that are run. Cases for kernels without dispatch are included only if
/// `lacks_dispatch`.
fn planned_cases(selection: &Selection, lacks_dispatch: bool) -> Vec<&'static Case> {
    let cases = selection.cases.iter().copied();
    cases.filter(|case| lacks_dispatch || !case.checks_absence).collect()
}

/// The failure for faults of this machine, each of which left a case without a result; `None` if
/// there are none.
fn machine_faults_failure(faults: &[CaseFault]) -> Option<anyhow::Error> {
    let (first, rest) = faults.split_first()?;
    Some(Failure::machine(match rest.len() {
        0 => first.to_string(),
        more => format!("{first}; and {more} more"),
    }))
}

/// The error for a run that failed after `run_count` of `planned_count` cases. If the verdict has
/// results, the error takes it.
fn incomplete(
    error: anyhow::Error,
    verdict: &mut Verdict,
    run_count: usize,
    planned_count: usize,
) -> anyhow::Error {
    if verdict.cases.is_empty() {
        return error;
    }
    let (code, message) = (failure::error_code(&error), format!("{error:#}"));
    verdict.unjudged_reason = Some(match code {
        Code::Interrupted => format!("interrupted after {run_count} of {planned_count} cases"),
        _ => format!("{run_count} of {planned_count} cases have a result: {message}"),
    });
    let verdict = Box::new(std::mem::take(verdict));
    Incomplete { failure: Failure { code, message }, verdict }.into()
}

/// Adds the release, the processor and the features of the guest.
fn describe_guest(hello: &Hello, verdict: &mut Verdict) {
    verdict.kernel.release.clone_from(&hello.release);
    let features: Vec<&str> = hello.features.iter().map(|feature| feature.as_str()).collect();
    verdict.guest_facts = vec![
        format!("{}, {}", hello.release, hello.build),
        format!("{} x {}", hello.cpus, hello.cpu_model),
        format!("offers {}", features.join(", ")),
    ];
}

#[cfg(test)]
mod tests;
