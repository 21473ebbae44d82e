// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the selected cases in as many VMs as it takes and says how each ended.
//!
//! A case that kills or hangs the kernel has the blame alone: the VM is started again and the
//! cases after it run there.

use crate::expectations::{Expectations, Expected};
use crate::failure::Failure;
use crate::interrupt;
use crate::known_bugs::{KnownBug, Presence};
use crate::output::progress::Progress;
use crate::output::rerun::Rerun;
use crate::selection::{BOOT, BOOT_FUNCTION, BOOT_PROMISE, Selection};
use crate::session::conduct::{Conducted, Ended, Ending, GaveUp, Patience, Vm, conduct};
use crate::session::kernel_log;
use crate::session::running::Running;
use crate::session::watch::Watched;
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

/// After its stream is lost, a VM has this long to end by itself.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Most cases of one plan: their ids fit a frame of the protocol many times over.
const BATCH: usize = 1000;

/// Boot arguments of every run: an oops ends the VM, so that it is blamed on the case at once; a
/// panic restarts at once; what the console prints is paid for byte by byte, so only warnings and
/// worse (`quiet` would leave out what WARN() and lockdep print); addresses are as they are in vmlinux.
pub(crate) const BOOT_ARGUMENTS: &str = "loglevel=5 panic=-1 oops=panic nokaslr";

/// Boot arguments that show all a kernel says, for one that did not reach its init.
const TALKATIVE: &str = "panic=-1 oops=panic nokaslr ignore_loglevel";

/// What is needed to judge, beside the cases.
pub(crate) struct Bench<'a> {
    pub(crate) place: Place<'a>,
    /// Where addresses in registers and traces are looked up.
    pub(crate) vmlinux: Option<PathBuf>,
    pub(crate) patience: Patience,
    pub(crate) case_deadline: Duration,
    pub(crate) repeat: u32,
    /// Every case gets a VM of its own.
    pub(crate) isolate: bool,
    /// VMs that were kept when their guest was ready, and the shape that each has.
    pub(crate) kept: Vec<(Shape, Snapshot)>,
    /// Show the console while the guest runs.
    pub(crate) live: bool,
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

/// A VM shape that some cases need: CPUs and further boot arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    cpus: u8,
    arguments: Vec<&'static str>,
}

impl Shape {
    fn of(case: &Case, cpus: u8) -> Shape {
        let mut shape = Shape { cpus, arguments: Vec::new() };
        for need in case.needs {
            match need {
                Need::Cpus(n) => shape.cpus = shape.cpus.max(*n),
                Need::BootArgument(argument) => shape.arguments.push(argument),
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

impl Bench<'_> {
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
            let Place::Vm { spec, .. } = &self.place else { return Ok(()) };
            groups.push((Shape { cpus: spec.cpus, arguments: Vec::new() }, Vec::new()));
        }
        verdict.not_selected = selection.not_selected(expectations.arch(), without);
        let mut boot = Boot::Fine;
        for (shape, cases) in groups {
            boot = self.judge_group(&shape, &cases, expectations, verdict, progress)?;
            if matches!(boot, Boot::Failed { .. }) {
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
        match boot {
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
            let mut conducted = self.run_vm(shape, batch, BOOT_ARGUMENTS, verdict, progress)?;
            if let Ending::Gave(gave_up) = &conducted.ending {
                let (GaveUp::NoHost(reason) | GaveUp::Problem(reason)) = gave_up;
                verdict.unjudged = Some(match gave_up {
                    GaveUp::NoHost(_) => format!(
                        "the kernel reached its init, but that cannot reach the host over vsock \
                         ({reason}): virtio-mmio and virtio-vsock have to be built in"
                    ),
                    GaveUp::Problem(_) => format!("its init gave up: {reason}"),
                });
                return Ok(Boot::Fine);
            }
            let Some(hello) = conducted.hello.take() else {
                return self.boot_failed(shape, conducted, verdict, progress).map(Boot::from);
            };
            expectations.learn(&hello.release, &hello.features);
            if verdict.guest.is_empty() {
                describe_guest(&hello, verdict);
            }
            let done = conducted.ended.len();
            for (case, mut ended) in left.iter().zip(std::mem::take(&mut conducted.ended)) {
                let measurement = ended.measurement.take();
                verdict.measured.extend(measurement.map(|found| Measured::of(case.id, found)));
                let mut report = self.case_report(case, ended, expectations)?;
                add_steps(&mut report, case, &hello.features);
                merge(&mut verdict.cases, report);
            }
            let accounted = matches!(conducted.ending, Ending::Accounted);
            let ran_on = match conducted.ending {
                Ending::Accounted | Ending::Tainted => done,
                _ => match conducted.running {
                    Some(running) => {
                        let mut report = self.death_report(left[running], &conducted);
                        add_steps(&mut report, left[running], &hello.features);
                        merge(&mut verdict.cases, report);
                        running + 1
                    }
                    // It died, hung or lied with no case to blame: between the greeting and the
                    // first, or after the last.
                    None => {
                        let got = format!("{}, with no case running", self.what_ended(&conducted));
                        return Ok(Boot::Failed { got, console: conducted.console });
                    }
                },
            };
            left.drain(..ran_on);
            if left.is_empty() {
                return Ok(Boot::Fine);
            }
            if self.isolate {
                let done = verdict.boots + verdict.restored;
                if done == 1 && self.kept.is_empty() {
                    progress.say("isolate", "every case gets a boot: this backend keeps no VMs");
                }
                progress.progress(done.into(), u64::from(done) + left.len() as u64, "cases");
            } else if !accounted {
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
    ) -> anyhow::Result<Conducted> {
        if interrupt::pending() {
            return Err(Failure::interrupted());
        }
        let Place::Vm { machine, spec } = &self.place else {
            return self.run_here(cases, progress);
        };
        let (machine, mut spec) = (*machine, spec.clone());
        spec.cpus = shape.cpus;
        // What the person appends comes last and wins.
        let words = std::iter::once(arguments).chain(shape.arguments.iter().copied());
        spec.cmdline = words.chain([spec.cmdline.as_str()]).collect::<Vec<_>>().join(" ");
        let plan = self.plan(cases);
        // With other arguments, it is not the VM that was kept.
        let resumed = (arguments == BOOT_ARGUMENTS).then(|| self.resume(shape, progress));
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
        if let Some(target) = session.debugger() {
            let vmlinux = self
                .vmlinux
                .as_ref()
                .map_or_else(|| "VMLINUX".to_owned(), |path| path.display().to_string());
            progress.say("debug", &format!("gdb -ex 'target remote {target}' {vmlinux}"));
        }
        let mut vm = Watched::new(session, self.live);
        let conducted = conduct(&mut vm, plan, self.patience, interrupt::descriptor(), &mut |_| {});
        self.console_log.push_str(&vm.console_since(0));
        self.keep(shape, vm.snapshot(), progress);
        let mut conducted = conducted;
        if matches!(conducted.ending, Ending::Stalled) {
            let lines = vm.diagnose();
            conducted.whereabouts = lines.iter().map(|line| self.symbolised(line)).collect();
        }
        let end = match conducted.ending {
            Ending::Interrupted => return Err(Failure::interrupted()),
            Ending::Died | Ending::Gave(_) => vm.finish(LAST_MOMENTS),
            // All that counts is said: how the guest restarts is no longer of interest.
            _ => vm.finish(Duration::ZERO),
        };
        match &end {
            // Killed from outside, or a backend that gave up by itself: nothing about the kernel.
            VmEnd::Killed(signal) if matches!(conducted.ending, Ending::Died) => {
                return Err(Failure::machine(format!(
                    "the VM was killed by signal {signal} from outside (out of memory?); run again"
                )));
            }
            VmEnd::Failed(words) if matches!(conducted.ending, Ending::Died) => {
                return Err(Failure::machine(format!("the VM could not run: {words}")));
            }
            _ => {}
        }
        conducted.end = Some(end);
        Ok(conducted)
    }

    /// A VM of this shape that begins as one that was kept, if one was. A kept VM that cannot be
    /// restored is given up.
    fn resume(&mut self, shape: &Shape, progress: &mut Progress) -> Option<Session> {
        let at = self.kept.iter().position(|(other, _)| other == shape)?;
        match Session::resume(&self.kept[at].1) {
            Ok(session) => Some(session),
            Err(error) => {
                progress.say("note", &format!("a VM that was kept cannot be restored: {error}"));
                self.kept.remove(at);
                self.give_up_keeping();
                None
            }
        }
    }

    fn give_up_keeping(&mut self) {
        if let Place::Vm { spec, .. } = &mut self.place {
            spec.snapshot = false;
        }
    }

    /// Keeps the VM for the next of its shape.
    fn keep(
        &mut self,
        shape: &Shape,
        kept: Option<Result<Snapshot, String>>,
        progress: &mut Progress,
    ) {
        match kept {
            Some(Ok(kept)) => self.kept.push((shape.clone(), kept)),
            Some(Err(why)) => {
                progress.say("note", &format!("VMs are booted and not restored: {why}"));
                self.give_up_keeping();
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
    ) -> anyhow::Result<Conducted> {
        let mut running = Running::start()?;
        let plan = self.plan(cases);
        let total = plan.len() as u64;
        let conducted =
            conduct(&mut running, plan, self.patience, interrupt::descriptor(), &mut |done| {
                progress.progress(done as u64, total, "cases");
            });
        let words = running.words();
        self.console_log.push_str(&words);
        match &conducted.ending {
            Ending::Interrupted => Err(Failure::interrupted()),
            Ending::Accounted | Ending::Stalled => Ok(conducted),
            ending => {
                Err(Failure::machine(format!("the runner was lost ({ending:?}): {}", words.trim())))
            }
        }
    }

    /// The outcome of a case that ended by itself, against what is expected of this kernel.
    fn case_report(
        &self,
        case: &'static Case,
        ended: Ended,
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
            (CaseResult::Unmet(requirement), _) => (Outcome::Unmet, String::new(), requirement),
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
            report.outcome = if fault.taints() { Outcome::Crash } else { Outcome::Fail };
            report.expected = "no fault reported by the kernel".to_owned();
            report.got = fault.headline;
            report.bug = None;
            report.console = Some(self.symbolised(&fault.excerpt));
        }
        Ok(report)
    }

    /// The outcome of the case in which the VM ended.
    fn death_report(&self, case: &'static Case, conducted: &Conducted) -> CaseReport {
        let mut report = self.blank(case);
        report.outcome = match conducted.ending {
            Ending::Stalled if kernel_log::scan(&conducted.console).is_none() => Outcome::Hang,
            _ => Outcome::Crash,
        };
        report.expected = "the kernel goes on".to_owned();
        report.got = self.what_ended(conducted);
        report.log.clone_from(&conducted.log);
        report.console = Some(self.excerpt(conducted)).filter(|text| !text.is_empty());
        report
    }

    fn what_ended(&self, conducted: &Conducted) -> String {
        if let Some(fault) = kernel_log::scan(&conducted.console) {
            return fault.headline;
        }
        match (&conducted.ending, &conducted.end) {
            (_, Some(VmEnd::Panic(line))) => line.clone(),
            (_, Some(VmEnd::TripleFault(_))) => "triple fault".to_owned(),
            (_, Some(VmEnd::VcpuError { why, .. })) => why.clone(),
            (Ending::Died, Some(VmEnd::Restart)) => {
                "the guest restarted without an account of its cases".to_owned()
            }
            (Ending::Died, _) => "the guest hung up without an account of its cases".to_owned(),
            (Ending::Stalled, _) => {
                let patience = match conducted.running {
                    Some(_) => self.patience.case,
                    None => self.patience.boot,
                };
                let silence = format!("nothing for {} s", patience.as_secs());
                let lines = std::iter::once(&silence).chain(&conducted.whereabouts);
                lines.map(String::as_str).collect::<Vec<_>>().join("; ")
            }
            (Ending::Flooded, _) => "it prints on the console without end".to_owned(),
            (Ending::Lied(how), _) => format!("the guest broke the protocol: {how}"),
            (ending, _) => format!("{ending:?}"),
        }
    }

    /// What is worth showing of the console and the registers.
    fn excerpt(&self, conducted: &Conducted) -> String {
        let mut text = match kernel_log::scan(&conducted.console) {
            Some(fault) => fault.excerpt,
            None => tail(&conducted.console, 40),
        };
        if let Some(VmEnd::TripleFault(registers) | VmEnd::VcpuError { registers, .. }) =
            &conducted.end
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
        first: Conducted,
        verdict: &mut Verdict,
        progress: &mut Progress,
    ) -> anyhow::Result<(String, String)> {
        let got = self.what_ended(&first);
        let once = match &self.place {
            Place::Vm { spec, .. } => spec.gdb,
            Place::Running => true,
        };
        if matches!(first.ending, Ending::Flooded) || once {
            return Ok((got, self.excerpt(&first)));
        }
        progress.say("restart", &format!("{got}; once more with all messages"));
        let second = self.run_vm(shape, &[], TALKATIVE, verdict, progress)?;
        if second.hello.is_some() {
            return Ok((format!("{got}; a second boot reached its init"), self.excerpt(&first)));
        }
        Ok((self.what_ended(&second), self.excerpt(&second)))
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
