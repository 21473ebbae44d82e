// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the selected cases in as many VMs as it takes, side by side where there are CPUs for them, and
//! says how each case ended.

mod group;
mod outcome;
mod shape;

use crate::cli::VmArgs;
use crate::expectations::{Expectations, Expected};
use crate::failure::Failure;
use crate::output::progress::Progress;
use crate::output::rerun::Rerun;
use crate::selection::Selection;
use crate::session::cases::Patience;
use group::{Boot, GroupResult, GroupRunner};
use shape::{Group, Shape, groups};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use sudbox_protocol::{Feature, Hello};
use sudbox_report::{CaseReport, Outcome, Verdict};
use sudbox_vmm::machine::{Machine, VmSpec};

/// Boot arguments of every run. An oops ends the VM, so that the running case is blamed at once; a
/// panic restarts at once; addresses are as they are in vmlinux. A console costs time for each byte, so
/// it prints warnings and worse (`quiet` would leave out what WARN() and lockdep print).
const QUIET: &str = "loglevel=5 panic=-1 oops=panic nokaslr";

/// The same for a console that is shown: as much as a kernel prints by itself
/// (`CONSOLE_LOGLEVEL_DEFAULT`).
const SHOWN: &str = "loglevel=7 panic=-1 oops=panic nokaslr";

/// Boot arguments of sudbox's own.
pub(crate) fn boot_arguments(vm: &VmArgs) -> &'static str {
    if vm.console { SHOWN } else { QUIET }
}

/// Runs cases and judges how they end.
pub(crate) struct CaseRunner<'a> {
    pub(crate) place: Place<'a>,
    /// Where addresses in registers and traces are looked up.
    pub(crate) vmlinux: Option<PathBuf>,
    pub(crate) patience: Patience,
    pub(crate) case_deadline: Duration,
    pub(crate) repeat: u32,
    /// Every case gets a VM of its own.
    pub(crate) isolate: bool,
    /// Most VMs at a time.
    pub(crate) side_by_side: usize,
    /// Boot arguments, from [`boot_arguments`].
    pub(crate) arguments: &'static str,
    /// Show the console while the guest runs.
    pub(crate) show_console: bool,
    pub(crate) rerun: Rerun,
}

/// Where the cases run.
pub(crate) enum Place<'a> {
    /// In VMs like this one.
    Vm { machine: &'a dyn Machine, spec: VmSpec },
    /// On the kernel that is running here.
    Running,
}

/// A group that ran: its results, and how its VMs booted.
type Ran = (GroupResult, anyhow::Result<Boot>);

impl CaseRunner<'_> {
    /// Runs the selection and fills in the verdict. Everything that the consoles printed is added to
    /// `console_log`, also before an error.
    ///
    /// # Errors
    /// When this machine is at fault, or a signal came.
    pub(crate) fn judge(
        &self,
        selection: &Selection,
        expectations: &mut Expectations,
        verdict: &mut Verdict,
        console_log: &mut String,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let without = expectations.feature(Feature::Dispatch) == Expected::Absent;
        let groups = self.groups(selection, without)?;
        verdict.not_selected = selection.not_selected(expectations.arch(), without);
        let mut boot = Ok(Boot::Fine);
        for (result, booted) in self.run_groups(&groups, expectations, progress) {
            verdict.cases.extend(result.cases);
            verdict.measured.extend(result.measured);
            verdict.boots += result.boots;
            verdict.restored += result.restored;
            console_log.push_str(&result.console_log);
            if let Some(hello) = &result.hello {
                expectations.learn(&hello.release, &hello.features);
                if verdict.guest.is_empty() {
                    describe_guest(hello, verdict);
                }
            }
            if verdict.unjudged.is_none() {
                verdict.unjudged = result.unjudged;
            }
            if matches!(boot, Ok(Boot::Fine)) {
                boot = booted;
            }
        }
        verdict.millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Back into the order of the table, whatever VM each ran in.
        let place = |report: &CaseReport| selection.cases.iter().position(|c| c.id == report.id);
        verdict.cases.sort_by_key(place);
        if verdict.unjudged.is_none() {
            verdict.unjudged = expectations.why_unjudged(&verdict.cases);
        }
        match boot? {
            Boot::Fine if selection.boot => {
                verdict.cases.insert(0, self.boot_report(Outcome::Pass, String::new(), None));
            }
            Boot::Fine => {}
            Boot::Failed { got, console } => {
                let report = self.boot_report(Outcome::Fail, got, Some(console));
                verdict.cases.insert(0, report);
            }
        }
        Ok(())
    }

    /// The number of cases of the selection that are run.
    pub(crate) fn planned(&self, selection: &Selection, expectations: &Expectations) -> usize {
        let without = expectations.feature(Feature::Dispatch) == Expected::Absent;
        selection.cases.iter().filter(|case| without || !case.absence).count()
    }

    /// The groups of the selection: on the kernel that is running here, one. Cases about kernels
    /// without dispatch are in them if the kernel should be `without`.
    ///
    /// # Errors
    /// If no case is left and booting was not selected.
    fn groups(&self, selection: &Selection, without: bool) -> anyhow::Result<Vec<Group>> {
        let cases: Vec<_> =
            selection.cases.iter().copied().filter(|case| without || !case.absence).collect();
        if cases.is_empty() && !selection.boot {
            return Err(Failure::usage(match selection.cases.first() {
                Some(case) => format!(
                    "{} is for kernels without dispatch, and this kernel should have it: no case is \
                     left",
                    case.id
                ),
                None => "no case is selected".to_owned(),
            }));
        }
        Ok(match &self.place {
            Place::Running => vec![Group { shape: Shape::default(), cases }],
            Place::Vm { spec, .. } if cases.is_empty() => {
                vec![Group { shape: Shape::with_cpus(spec.cpus), cases }]
            }
            Place::Vm { spec, .. } => groups(&cases, spec.cpus),
        })
    }

    /// Runs the groups, the first alone until its guest is ready. The groups after one that did not
    /// boot, or had an error, are left out.
    fn run_groups(
        &self,
        groups: &[Group],
        expectations: &Expectations,
        progress: &mut Progress,
    ) -> Vec<Ran> {
        let progress = Mutex::new(progress);
        let (next, stop) = (AtomicUsize::new(1), AtomicBool::new(false));
        let ran: Vec<Mutex<Option<Ran>>> = groups.iter().map(|_| Mutex::new(None)).collect();
        let run = |at: usize, ready: Option<Sender<()>>| {
            let expectations = expectations.clone();
            let result = GroupRunner::new(self, &groups[at], expectations, &progress, ready).run();
            if !matches!(result.1, Ok(Boot::Fine)) || result.0.unjudged.is_some() {
                stop.store(true, Ordering::SeqCst);
            }
            if let Ok(mut slot) = ran[at].lock() {
                *slot = Some(result);
            }
        };
        let run_rest = || {
            while !stop.load(Ordering::SeqCst) {
                let at = next.fetch_add(1, Ordering::SeqCst);
                if at >= groups.len() {
                    break;
                }
                run(at, None);
            }
        };
        std::thread::scope(|scope| {
            let (ready, is_ready) = mpsc::channel();
            scope.spawn(|| {
                run(0, Some(ready));
                run_rest();
            });
            if is_ready.recv().is_ok() {
                for _ in 1..self.side_by_side.min(groups.len()) {
                    scope.spawn(run_rest);
                }
            }
        });
        ran.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
    }
}

/// Adds the release, the processor and the features of the guest.
fn describe_guest(hello: &Hello, verdict: &mut Verdict) {
    verdict.kernel.release.clone_from(&hello.release);
    let features: Vec<&str> = hello.features.iter().map(|feature| feature.as_str()).collect();
    verdict.guest = vec![
        format!("{}, {}", hello.release, hello.build),
        format!("{} x {}", hello.cpus, hello.cpu_model),
        format!("offers {}", features.join(", ")),
    ];
}
