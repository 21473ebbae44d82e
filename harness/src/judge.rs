// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the selected cases in as many VMs as it takes and says how each ended.
//!
//! A case that kills or hangs the kernel has the blame alone: the VM is started again and the
//! cases after it run there.

use crate::cli::VmArgs;
use crate::expectations::{Expectations, Expected};
use crate::failure::Failure;
use crate::interrupt;
use crate::known_bugs::{KnownBug, Presence};
use crate::output::progress::Progress;
use crate::output::rerun::Rerun;
use crate::selection::{BOOT, BOOT_FUNCTION, BOOT_PROMISE, Selection};
use crate::session::cases::{CasesRun, EndedCase, Patience, run_cases};
use crate::session::conversation::{Conversation, Ending, InitError};
use crate::session::kernel_log;
use crate::session::runner::Runner;
use crate::session::vm::VmGuest;
use crate::symbols::Symbols;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use sudbox_guest_init::case::{Case, Need, Run};
use sudbox_guest_init::walk;
use sudbox_images::Monitor as _;
use sudbox_protocol::{CaseResult, Feature, Hello, PlannedCase};
use sudbox_report::costs::Measured;
use sudbox_report::{Bug, CaseReport, Outcome, Verdict};
use sudbox_vmm::machine::{Machine, Snapshot, VmEnd, VmSpec};
use sudbox_vmm::session::Session;

/// Most cases of one plan: their ids fit a frame of the protocol many times over.
const BATCH: usize = 1000;

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

/// Boot arguments that show all a kernel says, for one that did not reach its init.
const TALKATIVE: &str = "panic=-1 oops=panic nokaslr ignore_loglevel";

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
    /// Snapshots of VMs whose guest was ready, each with its shape.
    pub(crate) snapshots: Vec<(Shape, Snapshot)>,
    /// Boot arguments, from [`boot_arguments`].
    pub(crate) arguments: &'static str,
    /// Show the console while the guest runs.
    pub(crate) show_console: bool,
    pub(crate) rerun: Rerun,
    /// Where everything the consoles said is collected.
    pub(crate) console_log: String,
}

/// Where the cases run.
pub(crate) enum Place<'a> {
    /// In VMs like this one.
    Vm { machine: &'a dyn Machine, spec: VmSpec },
    /// On the kernel that is running here.
    Running,
}

/// A VM shape that some cases need: CPUs, their vendor, and further boot arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    cpus: u8,
    vendor: Option<&'static str>,
    arguments: Vec<&'static str>,
}

impl Shape {
    fn of(case: &Case, cpus: u8) -> Shape {
        let mut shape = Shape { cpus, ..Shape::default() };
        for need in case.needs {
            match need {
                Need::Cpus(n) => shape.cpus = shape.cpus.max(*n),
                Need::BootArgument(argument) => shape.arguments.push(argument),
                Need::CpuVendor(vendor) => shape.vendor = Some(vendor),
                Need::Root | Need::Vm | Need::CpuFeature(_) => {}
            }
        }
        shape
    }
}

/// What booting came to.
enum Boot {
    /// Every VM reached its init, so far.
    Fine,
    /// One did not: what was seen, and its console.
    Failed { got: String, console: String },
}

impl CaseRunner<'_> {
    /// Runs the selection and fills in the verdict.
    ///
    /// # Errors
    /// When this machine is at fault, or a signal came.
    pub(crate) fn judge(
        &mut self,
        selection: &Selection,
        expectations: &mut Expectations,
        verdict: &mut Verdict,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut groups: Vec<(Shape, Vec<&'static Case>)> = Vec::new();
        let without = expectations.feature(Feature::Dispatch) == Expected::Absent;
        for case in selection.cases.iter().filter(|case| without || !case.absence) {
            let shape = match &self.place {
                Place::Vm { spec, .. } => Shape::of(case, spec.cpus),
                // The machine is as it is.
                Place::Running => Shape::default(),
            };
            match groups.iter_mut().find(|(other, _)| *other == shape) {
                Some((_, cases)) => cases.push(case),
                None => groups.push((shape, vec![case])),
            }
        }
        if groups.is_empty() && !selection.cases.is_empty() && !selection.boot {
            return Err(Failure::usage(format!(
                "{} is for kernels without dispatch, and this kernel should have it: no case is left",
                selection.cases[0].id
            )));
        }
        if groups.is_empty() {
            if !selection.boot {
                return Err(Failure::usage(
                    "this kernel offers dispatch, and the selected cases are about kernels without it: \
                     no case is left to run",
                ));
            }
            let Place::Vm { spec, .. } = &self.place else { return Ok(()) };
            groups.push((Shape { cpus: spec.cpus, ..Shape::default() }, Vec::new()));
        }
        verdict.not_selected = selection.not_selected(expectations.arch(), without);
        let mut boot = Ok(Boot::Fine);
        for (shape, cases) in groups {
            boot = self.judge_group(&shape, &cases, expectations, verdict, progress);
            if !matches!(boot, Ok(Boot::Fine)) {
                break;
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

    fn judge_group(
        &mut self,
        shape: &Shape,
        cases: &[&'static Case],
        expectations: &mut Expectations,
        verdict: &mut Verdict,
        progress: &mut Progress,
    ) -> anyhow::Result<Boot> {
        // All cases once, then all again: a fault that one leaves behind shows in the others.
        let mut left: Vec<&'static Case> =
            (0..self.repeat).flat_map(|_| cases.iter().copied()).collect();
        loop {
            let batch = &left[..left.len().min(if self.isolate { 1 } else { BATCH })];
            let mut run = self.run_vm(shape, batch, self.arguments, verdict, progress)?;
            if let Ending::InitFailed(error) = &run.conversation.ending {
                verdict.unjudged = Some(match error {
                    InitError::NoHost(reason) => format!(
                        "the kernel reached its init, but that cannot reach the host over vsock \
                         ({reason}): virtio-mmio and virtio-vsock have to be built in"
                    ),
                    InitError::Problem(reason) => format!("its init gave up: {reason}"),
                });
                return Ok(Boot::Fine);
            }
            let interrupted = run.conversation.ending == Ending::Interrupted;
            let Some(hello) = run.hello.take() else {
                if interrupted {
                    return Err(Failure::interrupted());
                }
                return self.boot_failed(shape, run, verdict, progress).map(Boot::from);
            };
            expectations.learn(&hello.release, &hello.features);
            if verdict.guest.is_empty() {
                describe_guest(&hello, verdict);
            }
            let done = run.ended.len();
            for (case, mut ended) in left.iter().zip(std::mem::take(&mut run.ended)) {
                let measurement = ended.measurement.take();
                verdict.measured.extend(measurement.map(|found| Measured::of(case.id, found)));
                let mut report = self.case_report(case, ended, expectations)?;
                add_steps(&mut report, case, &hello.features);
                merge(&mut verdict.cases, report);
            }
            if interrupted {
                return Err(Failure::interrupted());
            }
            let tried = match run.conversation.ending {
                Ending::Finished => done,
                _ => match run.running {
                    Some(running) => {
                        let mut report = self.death_report(left[running], &run);
                        add_steps(&mut report, left[running], &hello.features);
                        merge(&mut verdict.cases, report);
                        running + 1
                    }
                    // It died, hung or lied with no case to blame: between the greeting and the
                    // first, or after the last.
                    None => {
                        let got = format!("{}, with no case running", run.conversation.cause());
                        return Ok(Boot::Failed { got, console: run.conversation.console });
                    }
                },
            };
            left.drain(..tried);
            if left.is_empty() {
                return Ok(Boot::Fine);
            }
            if self.isolate {
                let done = verdict.boots + verdict.restored;
                if done == 1 && self.snapshots.is_empty() {
                    progress.say("isolate", "every case gets a boot: this backend keeps no VMs");
                }
                progress.progress(done.into(), u64::from(done) + left.len() as u64, "cases");
            } else if !run.accounted {
                progress.say("restart", &format!("{} cases are left", left.len()));
            }
        }
    }

    /// One VM from start to end.
    fn run_vm(
        &mut self,
        shape: &Shape,
        cases: &[&'static Case],
        arguments: &str,
        verdict: &mut Verdict,
        progress: &mut Progress,
    ) -> anyhow::Result<CasesRun> {
        if interrupt::pending() {
            return Err(Failure::interrupted());
        }
        let Place::Vm { machine, spec } = &self.place else {
            return self.run_here(cases, progress);
        };
        let (machine, mut spec) = (*machine, spec.clone());
        spec.cpus = shape.cpus;
        spec.cpu_vendor = shape.vendor.map(str::to_owned);
        // What the person appends comes last and wins.
        let words = std::iter::once(arguments).chain(shape.arguments.iter().copied());
        spec.cmdline = words.chain([spec.cmdline.as_str()]).collect::<Vec<_>>().join(" ");
        let plan = self.plan(cases);
        // A snapshot was booted with the usual arguments.
        let resumed = (arguments == self.arguments).then(|| self.resume(shape, progress));
        let session = match resumed.flatten() {
            Some(session) => {
                verdict.restored += 1;
                session
            }
            _ => {
                verdict.boots += 1;
                Session::boot(machine, &spec)
                    .map_err(|error| Failure::machine(error.to_string()))?
            }
        };
        let mut vm = VmGuest::new(session, self.show_console, self.vmlinux.as_deref(), progress);
        let mut run = run_cases(&mut vm, plan, self.patience, &mut |_| {});
        self.console_log.push_str(&vm.console());
        self.take_snapshot(shape, vm.snapshot(), progress);
        vm.end(&mut run.conversation)?;
        for line in &mut run.conversation.vcpus {
            *line = self.symbolised(line);
        }
        Ok(run)
    }

    /// A VM of this shape, restored from a snapshot if there is one. A snapshot that cannot be restored
    /// is dropped, and no other is taken.
    fn resume(&mut self, shape: &Shape, progress: &mut Progress) -> Option<Session> {
        let at = self.snapshots.iter().position(|(other, _)| other == shape)?;
        match Session::resume(&self.snapshots[at].1) {
            Ok(session) => Some(session),
            Err(error) => {
                progress
                    .say("note", &format!("a VM cannot be restored from its snapshot: {error}"));
                self.snapshots.remove(at);
                self.stop_snapshots();
                None
            }
        }
    }

    fn stop_snapshots(&mut self) {
        if let Place::Vm { spec, .. } = &mut self.place {
            spec.snapshot = false;
        }
    }

    /// Remembers the snapshot for the next VM of its shape.
    fn take_snapshot(
        &mut self,
        shape: &Shape,
        snapshot: Option<Result<Snapshot, String>>,
        progress: &mut Progress,
    ) {
        match snapshot {
            Some(Ok(snapshot)) => self.snapshots.push((shape.clone(), snapshot)),
            Some(Err(why)) => {
                progress.say("note", &format!("VMs are booted and not restored: {why}"));
                self.stop_snapshots();
            }
            None => {}
        }
    }

    fn plan(&self, cases: &[&'static Case]) -> Vec<PlannedCase> {
        let deadline_ms = u32::try_from(self.case_deadline.as_millis()).unwrap_or(u32::MAX);
        cases.iter().map(|case| PlannedCase { id: case.id.to_owned(), deadline_ms }).collect()
    }

    /// The cases on the kernel that is running here. A runner that is lost is lost to this machine:
    /// a kernel that dies takes us with it.
    fn run_here(
        &mut self,
        cases: &[&'static Case],
        progress: &mut Progress,
    ) -> anyhow::Result<CasesRun> {
        let mut runner = Runner::start()?;
        let plan = self.plan(cases);
        let total = plan.len() as u64;
        let run = run_cases(&mut runner, plan, self.patience, &mut |done| {
            progress.progress(done as u64, total, "cases");
        });
        let words = runner.words();
        self.console_log.push_str(&words);
        match &run.conversation.ending {
            Ending::Finished | Ending::Stalled | Ending::Interrupted => Ok(run),
            _ => Err(Failure::machine(format!(
                "the runner was lost: {}; it said: {}",
                run.conversation.cause(),
                words.trim()
            ))),
        }
    }

    /// The outcome of a case that ended by itself, against what is expected of this kernel.
    fn case_report(
        &self,
        case: &'static Case,
        ended: EndedCase,
        expectations: &Expectations,
    ) -> anyhow::Result<CaseReport> {
        let mut report = self.blank(case);
        report.micros = ended.micros;
        report.log = ended.log;
        let bugs = case.known_bugs.iter().filter_map(|id| expectations.known_bug(id));
        let bugs: Vec<_> = bugs.collect();
        let mut recorded = None;
        let mut record = |bug: &KnownBug| {
            recorded = Some(Bug { id: bug.id.to_owned(), citation: bug.citation.to_owned() });
        };
        let (outcome, expected, got) = match (ended.result, bugs.first()) {
            (CaseResult::Pass, Some((bug, Presence::Certain))) => {
                record(bug);
                (Outcome::Fixed, String::new(), format!("{}: {}", bug.id, bug.citation))
            }
            (CaseResult::Pass, _) => (Outcome::Pass, String::new(), String::new()),
            (CaseResult::Fail { expected, got }, first) => {
                match bugs.iter().find(|(bug, _)| bug.looks_like(case.id, &got)) {
                    Some((bug, _)) => {
                        record(bug);
                        (Outcome::Known, expected, format!("{got} ({}: {})", bug.id, bug.citation))
                    }
                    None => {
                        report.log.extend(first.map(|(bug, _)| {
                            format!("not what the recorded bug {} shows: {}", bug.id, bug.citation)
                        }));
                        (Outcome::Fail, expected, got)
                    }
                }
            }
            (CaseResult::Absent(feature), _) => match expectations.feature(feature) {
                Expected::Present => (
                    Outcome::Fail,
                    format!("this kernel offers {feature}"),
                    format!("{feature} is not there"),
                ),
                Expected::Absent | Expected::Unknown => {
                    (Outcome::Absent, String::new(), feature.to_string())
                }
            },
            // A feature that only a case finds out.
            (CaseResult::Unmet(requirement), _) if expectations.lacks(&requirement) => {
                (Outcome::Absent, String::new(), requirement)
            }
            (CaseResult::Unmet(requirement), _) => {
                let by_design =
                    matches!(self.place, Place::Running) && requirement == Need::Root.to_string();
                let requirement = if by_design {
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
                return Err(Failure::machine(format!(
                    "a fault of sudbox, not of the kernel: case {} could not be run: {reason}",
                    case.id
                )));
            }
        };
        (report.outcome, report.expected, report.got) = (outcome, expected, got);
        report.bug = recorded;
        if let Some(fault) = ended.report {
            report.outcome =
                if fault.invalidates_later_cases() { Outcome::Crash } else { Outcome::Fail };
            report.expected = "no fault reported by the kernel".to_owned();
            report.got = fault.headline;
            report.bug = None;
            report.console = Some(self.symbolised(&fault.excerpt));
        }
        Ok(report)
    }

    /// The outcome of the case in which the VM ended.
    fn death_report(&self, case: &'static Case, run: &CasesRun) -> CaseReport {
        let mut report = self.blank(case);
        let conversation = &run.conversation;
        report.outcome = match conversation.ending {
            Ending::Stalled if kernel_log::scan(&conversation.console).is_none() => Outcome::Hang,
            _ => Outcome::Crash,
        };
        report.expected = "the kernel goes on".to_owned();
        report.got = conversation.cause();
        report.log.clone_from(&run.log);
        report.console = Some(self.excerpt(conversation)).filter(|text| !text.is_empty());
        report
    }

    /// The part of the console, and the registers, that a report shows.
    fn excerpt(&self, conversation: &Conversation) -> String {
        let mut text = match kernel_log::scan(&conversation.console) {
            Some(fault) => fault.excerpt,
            None => tail(&conversation.console, 40),
        };
        if let Some(VmEnd::TripleFault(registers) | VmEnd::VcpuError { registers, .. }) =
            &conversation.vm_end
        {
            text.push('\n');
            text.push_str(registers);
        }
        self.symbolised(text.trim())
    }

    fn symbolised(&self, text: &str) -> String {
        let symbols = self.vmlinux.as_deref().and_then(|path| Symbols::open(path).ok());
        symbols.map_or_else(|| text.to_owned(), |symbols| symbols.symbolise(text))
    }

    /// A kernel that did not reach its init is booted once more to hear all it has to say.
    fn boot_failed(
        &mut self,
        shape: &Shape,
        first: CasesRun,
        verdict: &mut Verdict,
        progress: &mut Progress,
    ) -> anyhow::Result<(String, String)> {
        let first = first.conversation;
        let got = first.cause();
        let once = match &self.place {
            Place::Vm { spec, .. } => spec.gdb,
            Place::Running => true,
        };
        if matches!(first.ending, Ending::Flooded(_)) || once {
            return Ok((got, self.excerpt(&first)));
        }
        progress.say("restart", &format!("{got}; once more with all messages"));
        let second = self.run_vm(shape, &[], TALKATIVE, verdict, progress)?.conversation;
        if second.greeted {
            return Ok((format!("{got}; a second boot reached its init"), self.excerpt(&first)));
        }
        Ok((second.cause(), self.excerpt(&second)))
    }

    fn blank(&self, case: &Case) -> CaseReport {
        CaseReport {
            id: case.id.to_owned(),
            promise: case.promise.to_owned(),
            kernel_function: case.kernel_function.to_owned(),
            outcome: Outcome::Pass,
            expected: String::new(),
            got: String::new(),
            bug: None,
            log: Vec::new(),
            console: None,
            rerun: self.rerun.case(case),
            micros: 0,
        }
    }

    fn boot_report(&self, outcome: Outcome, got: String, console: Option<String>) -> CaseReport {
        CaseReport {
            id: BOOT.to_owned(),
            promise: BOOT_PROMISE.to_owned(),
            kernel_function: BOOT_FUNCTION.to_owned(),
            outcome,
            expected: "a greeting from guest-init over vsock".to_owned(),
            got,
            bug: None,
            log: Vec::new(),
            console: console.filter(|text| !text.trim().is_empty()),
            rerun: self.rerun.boot(),
            micros: 0,
        }
    }
}

impl From<(String, String)> for Boot {
    fn from((got, console): (String, String)) -> Boot {
        Boot::Failed { got, console }
    }
}

/// Adds what a walk did that failed and left no word of it: it died with the kernel, or the kernel
/// reported a fault.
fn add_steps(report: &mut CaseReport, case: &Case, features: &[Feature]) {
    if let Run::Walk(seed) = case.run
        && report.outcome.is_failure()
        && report.log.is_empty()
    {
        report.log = walk::text(seed, features).lines().map(str::to_owned).collect();
    }
}

/// Adds a report, or of two for the same case keeps the worse.
fn merge(cases: &mut Vec<CaseReport>, report: CaseReport) {
    match cases.iter_mut().find(|other| other.id == report.id) {
        // Outcomes are declared the worst first.
        Some(other) if report.outcome < other.outcome => *other = report,
        Some(_) => {}
        None => cases.push(report),
    }
}

fn describe_guest(hello: &Hello, verdict: &mut Verdict) {
    verdict.kernel.release.clone_from(&hello.release);
    let features: Vec<&str> = hello.features.iter().map(|feature| feature.as_str()).collect();
    verdict.guest = vec![
        format!("{}, {}", hello.release, hello.build),
        format!("{} x {}", hello.cpus, hello.cpu_model),
        format!("offers {}", features.join(", ")),
    ];
}

/// The last `lines` lines.
fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
