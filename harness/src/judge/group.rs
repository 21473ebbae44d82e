// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the cases of one group in one VM or, after crashes, in several VMs one after the other.
//!
//! Only the case that was running is blamed for a crash or hang; the cases after it run in a new
//! VM.

use super::changed::CaseDigest;
use super::outcome::{add_or_keep_worse, add_walk_steps};
use super::shape::CaseGroup;
use super::trace::add_functions;
use super::{CaseRunner, Environment};
use crate::expectations::Expectations;
use crate::failure::{self, Failure};
use crate::output::progress::Progress;
use crate::session::cases::{CasesRun, run_cases};
use crate::session::conversation::{Ending, InitError};
use crate::session::host_process::HostProcess;
use crate::session::running_guest::MachineFault;
use crate::session::vm::VmGuest;
use crate::symbols::Symbols;
use crate::{backend, interrupt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use sudbox_guest_init::case::Case;
use sudbox_images::Monitor as _;
use sudbox_protocol::{Hello, PlannedCase};
use sudbox_report::CaseMeasurement;
use sudbox_report::CaseReport;
use sudbox_vmm::machine::Snapshot;
use sudbox_vmm::session::Session;

/// Maximum number of cases in one plan, so that the plan fits a frame of the protocol.
const MAX_PLAN_CASES: usize = 1000;

/// Number of VMs of a group that may end by faults of this machine. After that many, the cases that
/// are left are not run.
pub(super) const MAX_FAULTY_VMS: usize = 3;

/// Boot arguments that print every kernel message, for the second boot of a kernel that did not
/// reach its init.
const VERBOSE_BOOT_ARGUMENTS: &str = "panic=-1 oops=panic nokaslr ignore_loglevel";

/// The result of booting the VMs of a group.
#[derive(Debug)]
pub(super) enum BootResult {
    /// Every VM so far reached its init.
    Booted,
    /// A VM did not reach its init. The fields are the observed behaviour and an excerpt of the
    /// console.
    Failed { actual: String, console: String },
    /// A VM did not reach its init, nor did a VM of another group, which reports the failure.
    FailedInAnotherGroup,
}

/// The results of a group.
#[derive(Debug, Default)]
pub(super) struct GroupResult {
    pub(super) cases: Vec<CaseReport>,
    pub(super) measurements: Vec<CaseMeasurement>,
    /// The digests of the observations, one for each run of a case that has observations.
    pub(super) digests: Vec<CaseDigest>,
    /// Number of VMs that were booted.
    pub(super) boots: u32,
    /// Number of VMs that were restored from a snapshot.
    pub(super) restored: u32,
    /// The `Hello` of the first guest.
    pub(super) hello: Option<Hello>,
    /// The reason why the kernel cannot be judged.
    pub(super) unjudged_reason: Option<String>,
    /// The faults of this machine or of sudbox.
    pub(super) machine_faults: Vec<CaseFault>,
    /// Everything that the consoles printed.
    pub(super) console_log: String,
}

/// A fault of this machine or of sudbox, by which a case has no result.
#[derive(Debug)]
pub(super) struct CaseFault {
    /// The case that was running, if one was.
    pub(super) case: Option<&'static Case>,
    pub(super) fault: MachineFault,
}

impl std::fmt::Display for CaseFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.case {
            Some(case) => write!(f, "{} has no result: {}", case.id, self.fault),
            None => self.fault.fmt(f),
        }
    }
}

/// The progress of all groups of a run.
pub(super) struct RunProgress<'a> {
    printer: Mutex<&'a mut Progress>,
    /// Number of cases with a VM of their own that have run.
    ended_isolated_cases: AtomicU64,
    /// Number of cases of all groups, repeats included.
    total_cases: u64,
    /// Whether a VM of any group failed to boot.
    boot_failed: AtomicBool,
}

impl<'a> RunProgress<'a> {
    pub(super) fn new(printer: &'a mut Progress, total: u64) -> RunProgress<'a> {
        RunProgress {
            printer: Mutex::new(printer),
            ended_isolated_cases: AtomicU64::new(0),
            total_cases: total,
            boot_failed: AtomicBool::new(false),
        }
    }

    fn printer(&self) -> MutexGuard<'_, &'a mut Progress> {
        self.printer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a case with a VM of its own. Prints a note once if that VM left no snapshot for the
    /// next VM.
    fn isolated_case_ended(&self, has_snapshot: bool) {
        let ended_count = self.ended_isolated_cases.fetch_add(1, Ordering::SeqCst) + 1;
        if ended_count == 1 && !has_snapshot {
            let note = "every case gets a boot: this backend takes no snapshots";
            self.printer().print("isolate", note);
        }
        self.printer().progress(ended_count, self.total_cases, "cases");
    }
}

/// Runs the cases of a group.
pub(super) struct GroupRunner<'a> {
    runner: &'a CaseRunner<'a>,
    group: &'a CaseGroup,
    expectations: Expectations,
    progress: &'a RunProgress<'a>,
    /// The snapshot of a VM whose guest was ready.
    snapshot: Option<Snapshot>,
    /// Whether new VMs take snapshots. False after a snapshot or a restore failed.
    take_snapshots: bool,
    result: GroupResult,
}

impl<'a> GroupRunner<'a> {
    pub(super) fn new(
        runner: &'a CaseRunner<'a>,
        group: &'a CaseGroup,
        expectations: Expectations,
        progress: &'a RunProgress<'a>,
    ) -> GroupRunner<'a> {
        GroupRunner {
            runner,
            group,
            expectations,
            progress,
            snapshot: None,
            take_snapshots: true,
            result: GroupResult::default(),
        }
    }

    /// Runs all cases. Returns the results of the cases that ended, even if an error stopped the
    /// group.
    pub(super) fn run(mut self) -> (GroupResult, anyhow::Result<BootResult>) {
        let boot = catch_unwind(AssertUnwindSafe(|| self.run_cases()));
        let boot = boot.unwrap_or_else(|panic| Err(failure::of_panic(&*panic)));
        (self.result, boot)
    }

    fn run_cases(&mut self) -> anyhow::Result<BootResult> {
        let mut faulty_vms = 0;
        // Repeats begin after all cases ran once, so that damage by one case shows in the repeats
        // of other cases.
        let mut remaining: Vec<&'static Case> =
            (0..self.runner.runs_per_case).flat_map(|_| self.group.cases.iter().copied()).collect();
        loop {
            let batch = &remaining
                [..remaining.len().min(if self.runner.isolate_cases { 1 } else { MAX_PLAN_CASES })];
            let mut run = self.run_guest(batch, self.runner.boot_arguments)?;
            let machine_fault = run.machine_fault.take();
            if let (Ending::InitFailed(error), None) = (&run.conversation.ending, &machine_fault) {
                self.result.unjudged_reason = Some(match error {
                    InitError::NoHost(reason) => format!(
                        "the kernel reached its init, but the init cannot reach the host over vsock \
                         ({reason}): virtio-mmio and virtio-vsock have to be built in"
                    ),
                    InitError::Problem(reason) => format!("its init gave up: {reason}"),
                });
                return Ok(BootResult::Booted);
            }
            let is_interrupted = run.conversation.ending == Ending::Interrupted;
            let Some(hello) = run.hello.take() else {
                if is_interrupted {
                    return Err(Failure::interrupted());
                }
                if let Some(fault) = machine_fault {
                    self.progress.printer().print("note", &fault.to_string());
                    self.result.machine_faults.push(CaseFault { case: None, fault });
                    faulty_vms += 1;
                    self.give_up_after(faulty_vms)?;
                    continue;
                }
                return self.retry_failed_boot(run);
            };
            self.expectations.update(&hello.release, &hello.features);
            self.result.hello.get_or_insert_with(|| hello.clone());
            let ended_count = run.ended_cases.len();
            for (case, mut ended) in remaining.iter().zip(std::mem::take(&mut run.ended_cases)) {
                if let Some(recorder) = &self.runner.recorder {
                    recorder.add_case(case.id, &mut ended);
                }
                let digest = ended.digest.map(|digest| CaseDigest { case, digest });
                self.result.digests.extend(digest);
                let measurement = ended.measurement.take();
                self.result
                    .measurements
                    .extend(measurement.map(|values| CaseMeasurement::new(case.id, values)));
                match self.runner.case_report(case, ended, &self.expectations) {
                    Ok(mut report) => {
                        add_walk_steps(&mut report, case, &hello.features);
                        add_or_keep_worse(&mut self.result.cases, report);
                    }
                    Err(fault) => {
                        self.result.machine_faults.push(CaseFault { case: Some(case), fault });
                    }
                }
            }
            let symbols = self.runner.vmlinux.as_deref().filter(|_| !run.traces.is_empty());
            let symbols = symbols.and_then(|path| Symbols::open(path).ok());
            add_functions(&mut self.result.measurements, &run.traces, symbols.as_ref());
            if is_interrupted {
                return Err(Failure::interrupted());
            }
            let running_case = run.running_case.map(|index| remaining[index]);
            if let Some(fault) = machine_fault {
                let fault = CaseFault { case: running_case, fault };
                self.progress.printer().print("note", &fault.to_string());
                self.result.machine_faults.push(fault);
                faulty_vms += 1;
            } else if run.conversation.ending != Ending::Finished {
                let Some(case) = running_case else {
                    // The guest ended between its `Hello` and its first case, or between two cases.
                    let actual = format!("{}, with no case running", run.conversation.cause());
                    let console = run.conversation.console;
                    return Ok(BootResult::Failed { actual, console });
                };
                if let Some(recorder) = &self.runner.recorder {
                    recorder.add_crash(case.id, &run.conversation.cause());
                }
                let mut report = self.runner.death_report(case, &run);
                add_walk_steps(&mut report, case, &hello.features);
                add_or_keep_worse(&mut self.result.cases, report);
            }
            let has_finished = run.conversation.ending == Ending::Finished;
            let has_died_in_case = !has_finished && running_case.is_some();
            remaining.drain(..ended_count + usize::from(has_died_in_case));
            if remaining.is_empty() {
                return Ok(BootResult::Booted);
            }
            self.give_up_after(faulty_vms)?;
            if self.runner.isolate_cases {
                self.progress.isolated_case_ended(self.snapshot.is_some());
            } else if !run.has_all_results {
                self.progress
                    .printer()
                    .print("restart", &format!("{} cases are left", remaining.len()));
            }
        }
    }

    /// Gives up if too many VMs of this group ended by faults of this machine.
    ///
    /// # Errors
    /// The last fault, if `faulty_vms` have reached [`MAX_FAULTY_VMS`], or if the user debugs the VM,
    /// because a new VM would wait for gdb.
    fn give_up_after(&self, faulty_vms: usize) -> anyhow::Result<()> {
        let waits_for_gdb = match &self.runner.environment {
            Environment::Vm { spec, .. } => spec.wait_for_gdb,
            Environment::HostKernel => false,
        };
        let limit = if waits_for_gdb { 1 } else { MAX_FAULTY_VMS };
        match self.result.machine_faults.last() {
            Some(fault) if faulty_vms >= limit => Err(Failure::machine(fault.to_string())),
            _ => Ok(()),
        }
    }

    /// Starts a guest, runs the cases in it, and ends it.
    fn run_guest(&mut self, cases: &[&'static Case], arguments: &str) -> anyhow::Result<CasesRun> {
        if interrupt::is_pending() {
            return Err(Failure::interrupted());
        }
        let plan = self.planned_cases(cases);
        #[cfg(test)]
        if let Some(liars) = self.runner.liars {
            return Ok(liars.run(plan, self.runner));
        }
        let Environment::Vm { machine, spec } = &self.runner.environment else {
            return self.run_on_host(plan);
        };
        let (shape, mut spec) = (&self.group.shape, spec.clone());
        spec.cpus = shape.cpus;
        spec.cpu_vendor = shape.cpu_vendor.map(str::to_owned);
        spec.clock_counts_instructions = shape.clock_counts_instructions;
        spec.take_snapshot = self.take_snapshots;
        // The user's arguments come last, so that they override the others.
        let boot_arguments = std::iter::once(arguments).chain(shape.boot_arguments.iter().copied());
        spec.cmdline = boot_arguments.chain([spec.cmdline.as_str()]).collect::<Vec<_>>().join(" ");
        // The snapshot is of a VM with the usual boot arguments.
        let restored =
            if arguments == self.runner.boot_arguments { self.restore_snapshot() } else { None };
        let session = match restored {
            Some(session) => {
                self.result.restored += 1;
                session
            }
            None => {
                self.result.boots += 1;
                Session::boot(*machine, &spec).map_err(backend::boot_failure)?
            }
        };
        let vmlinux = self.runner.vmlinux.as_deref();
        let mut vm =
            VmGuest::new(session, self.runner.show_console, vmlinux, &mut self.progress.printer());
        let records_observations = self.runner.recorder.is_some();
        let mut run =
            run_cases(&mut vm, plan, records_observations, self.runner.timeouts, &mut |_| {});
        self.result.console_log.push_str(&vm.console());
        self.store_snapshot(vm.snapshot());
        match vm.marked_operation_traces() {
            Ok(traces) => run.traces = traces,
            Err(why) => {
                let note = format!("costly instructions are not counted: {why}");
                self.progress.printer().print("note", &note);
            }
        }
        run.machine_fault = vm.end(&mut run.conversation).err();
        for line in &mut run.conversation.vcpu_states {
            *line = self.runner.with_symbols(line);
        }
        Ok(run)
    }

    /// Restores a VM from the snapshot, if there is one. If the restore fails, drops the snapshot
    /// and takes no more snapshots.
    fn restore_snapshot(&mut self) -> Option<Session> {
        let snapshot = self.snapshot.as_ref()?;
        match Session::resume(snapshot) {
            Ok(session) => Some(session),
            Err(error) => {
                let note = format!("a VM cannot be restored from its snapshot: {error}");
                self.progress.printer().print("note", &note);
                self.snapshot = None;
                self.take_snapshots = false;
                None
            }
        }
    }

    /// Stores the snapshot for the next VM.
    fn store_snapshot(&mut self, snapshot: Option<Result<Snapshot, String>>) {
        match snapshot {
            Some(Ok(snapshot)) => self.snapshot = Some(snapshot),
            Some(Err(reason)) => {
                self.progress.printer().print(
                    "note",
                    &format!("VMs are booted, not restored from a snapshot: {reason}"),
                );
                self.take_snapshots = false;
            }
            None => {}
        }
    }

    fn planned_cases(&self, cases: &[&'static Case]) -> Vec<PlannedCase> {
        let deadline_ms = u32::try_from(self.runner.case_deadline.as_millis()).unwrap_or(u32::MAX);
        cases.iter().map(|case| PlannedCase { id: case.id.to_owned(), deadline_ms }).collect()
    }

    /// Runs the cases on the host's kernel.
    fn run_on_host(&mut self, plan: Vec<PlannedCase>) -> anyhow::Result<CasesRun> {
        let mut process = HostProcess::start()?;
        let total = plan.len() as u64;
        let records_observations = false;
        let mut run = run_cases(
            &mut process,
            plan,
            records_observations,
            self.runner.timeouts,
            &mut |done| {
                self.progress.printer().progress(done as u64, total, "cases");
            },
        );
        self.result.console_log.push_str(&process.stderr());
        run.machine_fault = process.end(&run.conversation).err();
        Ok(run)
    }

    /// Boots a kernel that did not reach its init a second time, so that the console has all
    /// messages. Does not boot the kernel if a VM of another group failed to boot before.
    fn retry_failed_boot(&mut self, first: CasesRun) -> anyhow::Result<BootResult> {
        if self.progress.boot_failed.swap(true, Ordering::SeqCst) {
            return Ok(BootResult::FailedInAnotherGroup);
        }
        let first = first.conversation;
        let actual = first.cause();
        let is_single_attempt = match &self.runner.environment {
            Environment::Vm { spec, .. } => spec.wait_for_gdb,
            Environment::HostKernel => true,
        };
        if matches!(first.ending, Ending::Flooded(_)) || is_single_attempt {
            return Ok(BootResult::Failed { actual, console: self.runner.console_excerpt(&first) });
        }
        self.progress.printer().print("restart", &format!("{actual}; once more with all messages"));
        let second = self.run_guest(&[], VERBOSE_BOOT_ARGUMENTS)?;
        if second.conversation.hello_received || second.machine_fault.is_some() {
            let actual = match &second.machine_fault {
                Some(fault) => format!("{actual}; in a second boot, {fault}"),
                None => format!("{actual}; a second boot reached its init"),
            };
            return Ok(BootResult::Failed { actual, console: self.runner.console_excerpt(&first) });
        }
        let second = second.conversation;
        let (actual, console) = (second.cause(), self.runner.console_excerpt(&second));
        Ok(BootResult::Failed { actual, console })
    }
}
