// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox bisect`: finds the commit that changed the outcome of a case, the boot or the build.
//!
//! Both ends are judged as `run` judges a kernel. `git bisect` then chooses the commits between
//! the ends, and each commit is judged by the cases whose outcomes differ between the ends. The
//! state is saved after every step, so `--resume` continues after an interrupt, a kill or a power
//! loss.

mod cases;
mod differences;
mod messages;
mod slowdown;
mod state;
mod summary;

use crate::cli::{self, BisectArgs, CostUnit, UserOptions};
use crate::failure::{self, Code, Failure};
use crate::kernel::{self, ComparedWith, JudgeOptions};
use crate::measure::{self, MeasuringMachine};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::output::{self, reports};
use crate::recordings::{Baseline, RecordJob, Recording};
use crate::selection::{BOOT_CASE, Selection};
use crate::{backend, capacity, setup};
use cases::{bisected_selection, requested_cases, requested_recorded_cases, with_boot};
use differences::{BUILD_ID, BisectedCases, CaseOutcome, RunOutcomes};
use messages::{ancestor_message, no_difference_message, resume_hint};
use slowdown::MilliInstructions;
use state::{BisectionState, BisectionStore, JudgedCommit, StepTimes};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sudbox_guest_init::bench::TABLE;
use sudbox_images::{
    Arch, Bisection as GitBisection, BisectionTerms, Cache, Commit, Fault, History, NextStep,
    Request,
};
use sudbox_report::bisection::Bisection;
use sudbox_report::costs::Unit;
use sudbox_report::{Form, Outcome, Report as _, Screen, Verdict};
use sudbox_vmm::machine::Machine;

/// File name of the `git bisect log` output, in the folder of the bisection.
const LOG_FILE: &str = "git-bisect.log";

/// Runs the bisection. Returns the exit code.
pub(crate) fn bisect(args: &BisectArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let cache = Cache::open()?;
    let linux = match &args.build.source.linux {
        None if args.resume => BisectionStore::last_state(&cache)?.args.build.source.linux,
        linux => linux.clone(),
    };
    let Some(linux) = linux else {
        return Err(Failure::usage(
            "--linux (LINUX=) is missing: name the git tree of Linux to bisect",
        ));
    };
    let mut history = History::open(&cache, &cli::expand_path(&linux))?;
    let store = BisectionStore::for_history(&cache, history.key());
    if !args.resume {
        // Check the arguments before the state of an earlier bisection is replaced.
        let arch = kernel::new_request("", &args.build, user_options)?.arch;
        let state = new_state(args, user_options, arch, &history)?;
        let machine_and_unit = prepare_bisection_machine(args, arch, &mut progress)?;
        history.lock(&mut progress)?;
        if store.read().is_ok_and(|earlier| !earlier.finished) {
            progress.print("note", "the unfinished bisection of this tree is discarded");
        }
        store.clear()?;
        store.write(&state)?;
        return run_remaining_steps(
            state,
            &store,
            &history,
            Some(machine_and_unit),
            args.format,
            progress,
        );
    }
    store.read()?;
    history.lock(&mut progress)?;
    let state = store.read()?;
    run_remaining_steps(state, &store, &history, None, args.format, progress)
}

/// Checks the arguments and returns the state of a new bisection.
fn new_state(
    args: &BisectArgs,
    user_options: &UserOptions,
    arch: Arch,
    history: &History<'_>,
) -> anyhow::Result<BisectionState> {
    let (Some(good_name), Some(bad_name)) = (&args.good, &args.bad) else {
        return Err(Failure::usage(
            "--good (GOOD=) or --bad (BAD=) is missing: name a commit that works and one that does \
             not",
        ));
    };
    if args.vm.gdb {
        return Err(Failure::usage(
            "--gdb waits for a debugger, and a bisection runs unattended: leave it out",
        ));
    }
    requested_cases(args)?.for_arch(arch)?;
    if args.changed {
        requested_recorded_cases(args, arch)?;
    }
    if let Some(name) = &args.bench
        && !TABLE.iter().any(|case| case.id == slowdown::case_id(name))
    {
        return Err(Failure::usage(format!("--bench takes one name, not `{name}`")));
    }
    let (good, bad) = (history.commit(good_name)?, history.commit(bad_name)?);
    if good.id == bad.id {
        return Err(Failure::usage(format!(
            "{good_name} and {bad_name} are the same commit, {:.12}: nothing lies between them",
            good.id
        )));
    }
    // `--resume` may be called from another directory.
    let mut args = args.clone();
    let source = &mut args.build.source;
    for path in source.linux.iter_mut().chain(&mut source.config) {
        if let Ok(absolute) = std::path::absolute(cli::expand_path(path))
            && let Some(absolute) = absolute.to_str()
        {
            absolute.clone_into(path);
        }
    }
    let mut user_options = user_options.clone();
    user_options.replace_values("linux", source.linux.iter().cloned().collect());
    user_options.replace_values("config", source.config.clone());
    let good_is_new = history.is_ancestor(&bad, &good);
    let (ends, steps) = (Vec::new(), Vec::new());
    Ok(BisectionState {
        args,
        user_options,
        good,
        bad,
        good_is_new,
        ends,
        bisected: None,
        steps,
        finished: false,
    })
}

/// Runs the remaining steps of a bisection, then prints and saves the report.
fn run_remaining_steps(
    mut state: BisectionState,
    store: &BisectionStore,
    history: &History<'_>,
    prepared_machine: Option<BisectionMachine>,
    format: &Form<Bisection>,
    mut progress: Progress,
) -> anyhow::Result<u8> {
    let request = kernel::new_request("", &state.args.build, &state.user_options)?;
    let machine_and_unit = match prepared_machine {
        Some(machine_and_unit) => machine_and_unit,
        None => prepare_bisection_machine(&state.args, request.arch, &mut progress)?,
    };
    let missing_tools = history.missing_tools(&request);
    if !missing_tools.is_empty() {
        setup::install(&missing_tools, &mut progress)?;
    }
    let baseline = None;
    let mut commit_judge =
        CommitJudge { history, machine_and_unit, request, store, progress, baseline };
    let result = commit_judge
        .judge_ends(&mut state)
        .and_then(|()| commit_judge.judge_commits_between(&mut state));
    let next_step = match result {
        Ok(next_step) => next_step,
        Err(error) => {
            if matches!(failure::error_code(&error), Code::Interrupted | Code::Machine) {
                commit_judge.progress.print("note", &resume_hint());
            } else {
                state.finished = true;
                store.write(&state)?;
            }
            return Err(error);
        }
    };
    state.finished = true;
    store.write(&state)?;
    let (text, found_commits) = match &next_step {
        NextStep::Found(id) => {
            let commit = history.commit(id)?;
            (summary::text_of_found_commit(&state, &commit, history, store.path()), vec![commit])
        }
        NextStep::Skipped(ids) => {
            let commits: Result<Vec<Commit>, _> = ids.iter().map(|id| history.commit(id)).collect();
            let commits = commits?;
            (summary::text_of_skipped_commits(&state, &commits, store.path()), commits)
        }
        NextStep::ChangedBefore(id) => {
            return Err(Failure::usage(ancestor_message(&state, &history.commit(id)?)));
        }
        NextStep::Judge(..) => {
            unreachable!("judge_commits_between() returns when no commit is left to judge")
        }
    };
    let exit_code = if matches!(next_step, NextStep::Found(_)) { 0 } else { Code::Unjudged as u8 };
    let report = summary::report(&state, &found_commits, exit_code, store.path(), text);
    for form in Bisection::FORMS {
        store.write_file(form.file_name, &(form.render)(&report, Screen::FILE))?;
    }
    output::print(&(format.render)(&report, output::screen()))?;
    commit_judge.progress.print("report", &store.path().display().to_string());
    Ok(exit_code)
}

/// The machine that boots the kernels, and the unit of costs if a slowdown is bisected.
struct BisectionMachine {
    machine: Box<dyn Machine>,
    unit: Option<Unit>,
}

fn prepare_bisection_machine(
    args: &BisectArgs,
    arch: Arch,
    progress: &mut Progress,
) -> anyhow::Result<BisectionMachine> {
    if args.bench.is_none() {
        return Ok(BisectionMachine {
            machine: backend::prepare_machine(&args.vm, arch, progress)?,
            unit: None,
        });
    }
    let MeasuringMachine { machine, unit } =
        MeasuringMachine::choose(Some(CostUnit::Instructions), &args.vm, arch, progress)?;
    Ok(BisectionMachine { machine, unit: Some(unit) })
}

/// Builds and judges commits.
struct CommitJudge<'a> {
    history: &'a History<'a>,
    machine_and_unit: BisectionMachine,
    request: Request,
    store: &'a BisectionStore,
    progress: Progress,
    /// The recording of the good end, with which all commits are compared (`--changed`).
    baseline: Option<Arc<Baseline>>,
}

impl CommitJudge<'_> {
    /// Judges the ends that are not judged yet, and finds the cases to bisect: the cases whose
    /// outcomes differ between the ends in every run.
    fn judge_ends(&mut self, state: &mut BisectionState) -> anyhow::Result<()> {
        if state.args.changed {
            self.record_good_end(state)?;
        }
        while state.ends.len() < 2 {
            let is_good = state.ends.is_empty();
            let (commit, name) =
                if is_good { (&state.good, "good-end") } else { (&state.bad, "bad-end") };
            self.progress.print("end", &commit_line(commit, if is_good { "good" } else { "bad" }));
            let selection = with_boot(requested_cases(&state.args)?);
            let started = Instant::now();
            let mut judged_commit = JudgedCommit::new(commit);
            self.run_commit(&mut judged_commit, Some(&selection), name, state)?;
            judged_commit.times.total_millis = millis(started.elapsed());
            state.ends.push(judged_commit);
            self.store.write(state)?;
        }
        if state.bisected.is_some() {
            return Ok(());
        }
        let (good, bad) = (&state.ends[0].runs[0], &state.ends[1].runs[0]);
        let (old, new) = if state.good_is_new { (bad, good) } else { (good, bad) };
        let Some((mut bisected, other_differences)) =
            BisectedCases::between(old, new, !state.good_is_new)
        else {
            return Err(Failure::usage(no_difference_message(state)));
        };
        let differing_ids: Vec<String> =
            bisected.differences.iter().map(|difference| difference.id.clone()).collect();
        let mut ends = state.ends.clone();
        for repeat in 1..=state.args.confirm {
            for (end, name) in ends.iter_mut().zip(["good-end", "bad-end"]) {
                let is_new = (name == "good-end") == state.good_is_new;
                let selection = bisected_selection(&bisected, &state.args)?;
                let name = format!("{name}-again-{repeat}");
                let started = Instant::now();
                self.run_commit(end, selection.as_ref(), &name, state)?;
                end.times.total_millis += millis(started.elapsed());
                for id in
                    bisected.remove_unstable(end.runs.last().expect("it has just run"), is_new)
                {
                    let note = format!("{id} is not bisected: its outcome changes from run to run");
                    self.progress.print("note", &note);
                }
                if bisected.differences.is_empty() {
                    return Err(Failure::usage(format!(
                        "nothing to bisect: the cases that differ between {} and {} change their \
                         outcome from run to run: {}",
                        state.args.good(),
                        state.args.bad(),
                        differing_ids.join(" ")
                    )));
                }
            }
        }
        state.ends = ends;
        self.print_bisected_cases(
            state,
            &bisected,
            &other_differences.iter().map(|difference| difference.id.as_str()).collect::<Vec<_>>(),
        );
        state.bisected = Some(bisected);
        self.store.write(state)
    }

    /// Records the behaviour of the good end, unless it is in the cache.
    fn record_good_end(&mut self, state: &BisectionState) -> anyhow::Result<()> {
        self.progress.print("end", &commit_line(&state.good, "good, recorded"));
        let selection = requested_recorded_cases(&state.args, self.request.arch)?;
        let image = self.history.kernel(&self.request, &state.good, &mut self.progress)?;
        let request = Request { reference: state.good.id.clone(), ..self.request.clone() };
        let path = self.store.path().join("good-end-recorded");
        let folder = RunFolder::create_at(path, self.store.owner())?;
        let cache = Cache::open()?;
        let job = RecordJob {
            machine: &*self.machine_and_unit.machine,
            cache: &cache,
            vm: &state.args.vm,
            user_options: &state.user_options,
            selection: &selection,
        };
        let behaviour =
            job.behaviour("the good end", &image, &request, &folder, &mut self.progress)?;
        let recording = Recording::of_behaviour(&request.flavour, behaviour);
        self.baseline = Some(Arc::new(Baseline::Fixed(Box::new(recording))));
        Ok(())
    }

    fn print_bisected_cases(
        &mut self,
        state: &BisectionState,
        bisected: &BisectedCases,
        other_ids: &[&str],
    ) {
        for difference in &bisected.differences {
            let (id, old, new) = (&difference.id, difference.old_outcome, difference.new_outcome);
            self.progress
                .print("bisected", &format!("{id}: {}, then {}", old.as_str(), new.as_str()));
        }
        if bisected.terms == BisectionTerms::OldNew {
            let note = "bisecting a fix: the new end is better than the old one";
            self.progress.print("note", note);
        }
        if !other_ids.is_empty() {
            let note = format!(
                "not bisected, because they changed in the other direction: {}",
                other_ids.join(" ")
            );
            self.progress.print("note", &note);
        }
        if (bisected.terms == BisectionTerms::OldNew) != state.good_is_new {
            let note = format!(
                "the ends are the other way round: {} is better than {}",
                state.args.bad(),
                state.args.good()
            );
            self.progress.print("note", &note);
        }
    }

    /// Judges the commits that git chooses until none is left. Returns the result that git found.
    fn judge_commits_between(&mut self, state: &mut BisectionState) -> anyhow::Result<NextStep> {
        let bisected = state.bisected.clone().expect("known, once both ends are judged");
        let selection = bisected_selection(&bisected, &state.args)?;
        let (old, new) = state.old_and_new_end();
        let (bisection, mut next_step) = GitBisection::begin(
            self.history,
            bisected.terms,
            &old.id,
            &new.id,
            &mut self.progress,
        )?;
        for (judged_commit, mark) in &state.steps {
            next_step = bisection.mark(&judged_commit.commit.id, *mark, &mut self.progress)?;
        }
        loop {
            let log = bisection.log(&mut self.progress)?.join("\n");
            self.store.write_file(LOG_FILE, &format!("{log}\n"))?;
            let NextStep::Judge(id, commits_left) = &next_step else { return Ok(next_step) };
            let started = Instant::now();
            let commit = self.history.commit(id)?;
            let number = state.steps.len() + 1;
            let steps_left = u64::BITS - commits_left.leading_zeros();
            let total_steps = state.steps.len() as u64 + u64::from(steps_left);
            let prefix = format!("{number} of about {total_steps}");
            self.progress.print("step", &commit_line(&commit, &prefix));
            let mut judged_commit = JudgedCommit::new(&commit);
            let name = format!("{number:02}-{:.12}", commit.id);
            self.run_commit(&mut judged_commit, selection.as_ref(), &name, state)?;
            let mut repeats = 0;
            while repeats < state.args.confirm
                && judged_commit.runs.last().is_some_and(|run| bisected.is_doubtful(run))
            {
                repeats += 1;
                self.progress
                    .print("doubtful", &format!("once more ({repeats} of {})", state.args.confirm));
                let name = format!("{name}-again-{repeats}");
                self.run_commit(&mut judged_commit, selection.as_ref(), &name, state)?;
            }
            let mark = bisected.mark(&judged_commit.runs);
            next_step = bisection.mark(&commit.id, mark, &mut self.progress)?;
            judged_commit.times.total_millis = millis(started.elapsed());
            self.progress.print("is", &summary::step_line(&judged_commit, mark, &bisected));
            state.steps.push((judged_commit, mark));
            self.store.write(state)?;
        }
    }

    /// Runs a commit once and adds the outcomes to `judged_commit`. Builds its kernel unless it is
    /// cached, and boots it unless `selection` is `None`.
    fn run_commit(
        &mut self,
        judged_commit: &mut JudgedCommit,
        selection: Option<&Selection>,
        name: &str,
        state: &BisectionState,
    ) -> anyhow::Result<()> {
        let folder = RunFolder::create_at(self.store.path().join(name), self.store.owner())?;
        judged_commit.folders.push(name.to_owned());
        let JudgedCommit { commit, times, .. } = judged_commit;
        let outcomes = self.run_outcomes(commit, selection, &folder, times, state)?;
        judged_commit.runs.push(outcomes);
        Ok(())
    }

    fn run_outcomes(
        &mut self,
        commit: &Commit,
        selection: Option<&Selection>,
        folder: &RunFolder,
        times: &mut StepTimes,
        state: &BisectionState,
    ) -> anyhow::Result<RunOutcomes> {
        let args = &state.args;
        let build_outcome = |outcome, actual: String| CaseOutcome {
            id: BUILD_ID.to_owned(),
            outcome,
            actual,
            cost: None,
        };
        let started = Instant::now();
        let image = match self.history.kernel(&self.request, commit, &mut self.progress) {
            Ok(image) => image,
            Err(error) if error.fault() == Fault::Kernel => {
                times.make_millis += millis(started.elapsed());
                let mut reason = error.to_string();
                if let Some(log) = error.log() {
                    // The next step overwrites the log in the build slot.
                    let copied_log = folder.path().join("build.log").display().to_string();
                    reason = match folder.copy_log_in("build.log", log) {
                        Ok(()) => reason.replace(&log.display().to_string(), &copied_log),
                        // A hostile build can make its log unusable.
                        Err(error) => format!("{reason}; {error:#}"),
                    };
                }
                let cases = vec![build_outcome(Outcome::Fail, reason.clone())];
                return Ok(RunOutcomes { cases, unjudged: Some(reason) });
            }
            Err(error) => return Err(error.into()),
        };
        times.make_millis += millis(image.make_duration);
        let mut outcomes = RunOutcomes {
            cases: vec![build_outcome(Outcome::Pass, String::new())],
            unjudged: None,
        };
        let Some(selection) = selection else { return Ok(outcomes) };
        let request = Request { reference: commit.id.clone(), ..self.request.clone() };
        let options = JudgeOptions {
            vm: args.vm.clone(),
            isolate_cases: false,
            strict: false,
            runs_per_case: 1,
            timeout: match args.bench {
                Some(_) => measure::BENCHMARK_TIMEOUT,
                None => Duration::from_secs(args.timeout),
            },
            max_parallel_vms: capacity::max_vms(&args.vm),
            rerun: RerunCommand::new(RerunVerb::Run, &commit.id, &state.user_options),
            trace_marked_operations: false,
            recorder: None,
            compared_with: match &self.baseline {
                Some(baseline) => ComparedWith::Recording(baseline.clone()),
                None => ComparedWith::Neighbours,
            },
        };
        let started = Instant::now();
        let verdict = kernel::judge_image(
            &image,
            &request,
            &*self.machine_and_unit.machine,
            &options,
            selection,
            folder,
            &mut self.progress,
        )?;
        times.vm_millis += millis(started.elapsed());
        reports::write_forms(&verdict, folder)?;
        // The initramfs is the same in every step and larger than the other files.
        let _ = std::fs::remove_file(folder.path().join("initramfs.cpio"));
        outcomes.unjudged.clone_from(&verdict.unjudged_reason);
        let benchmark_cost = self.benchmark_cost(&verdict, args)?;
        for case in verdict.cases {
            if case.id == BOOT_CASE && case.outcome.is_failure() {
                outcomes.unjudged = Some(format!("this kernel does not boot: {}", case.detail));
            }
            let (case, cost) = match (&args.bench, benchmark_cost) {
                (Some(name), Some(cost)) if case.id == slowdown::case_id(name) => {
                    let good_cost = state.cost_at_good_end(&case.id);
                    (slowdown::judge_cost(case, cost, good_cost, args.threshold), Some(cost))
                }
                _ => (case, None),
            };
            outcomes.cases.push(CaseOutcome {
                id: case.id,
                outcome: case.outcome,
                actual: case.detail,
                cost,
            });
        }
        Ok(outcomes)
    }

    /// The cost of the bisected benchmark; `None` if cases are bisected or the benchmark did not
    /// run.
    fn benchmark_cost(
        &self,
        verdict: &Verdict,
        args: &BisectArgs,
    ) -> anyhow::Result<Option<MilliInstructions>> {
        let (Some(name), Some(unit)) = (&args.bench, self.machine_and_unit.unit) else {
            return Ok(None);
        };
        match slowdown::cost(verdict, unit, name) {
            // The verdict has the reason why nothing was measured.
            Err(error) if failure::error_code(&error) == Code::Unjudged => Ok(None),
            cost => cost,
        }
    }
}

impl JudgedCommit {
    fn new(commit: &Commit) -> JudgedCommit {
        let (runs, folders, times) = (Vec::new(), Vec::new(), StepTimes::default());
        JudgedCommit { commit: commit.clone(), runs, folders, times }
    }
}

fn commit_line(commit: &Commit, prefix: &str) -> String {
    format!("{prefix}: {:.12} {}", commit.id, sudbox_report::text::escaped_line(&commit.subject))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
