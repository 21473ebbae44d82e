// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox bisect`: finds the commit that changed the outcome of a case, the boot or the build.
//!
//! Both ends are judged as `run` judges a kernel. `git bisect` then chooses the commits between
//! them, and each is judged by the cases whose outcomes differ. The state is saved after every
//! step, so `--resume` continues after an interrupt, a kill or a power loss.

mod differences;
mod messages;
mod slowdown;
mod state;
mod summary;

use crate::cli::{self, BisectArgs, CostUnit, GivenOptions};
use crate::failure::{self, Code, Failure};
use crate::kernel::{self, JudgeOptions};
use crate::measure::{self, MeasuringMachine};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::{Rerun, RerunVerb};
use crate::output::{self, reports};
use crate::selection::{self, BOOT, Selection};
use crate::{backend, capacity, setup};
use differences::{BUILD_ID, BisectedCases, CaseOutcome, RunOutcomes};
use messages::{ancestor_message, no_difference_message, resume_hint};
use slowdown::MilliInstructions;
use state::{JudgedCommit, State, Store, Times};
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
pub(crate) fn bisect(args: &BisectArgs, given: &GivenOptions) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let cache = Cache::open()?;
    let linux = match &args.build.source.linux {
        None if args.resume => Store::last(&cache)?.args.build.source.linux,
        linux => linux.clone(),
    };
    let Some(linux) = linux else {
        return Err(Failure::usage(
            "--linux (LINUX=) is missing: name the git tree of Linux to bisect",
        ));
    };
    let mut history = History::open(&cache, &cli::path(&linux))?;
    let store = Store::of(&cache, history.key());
    if !args.resume {
        // Invalid arguments are reported before anything is written.
        let arch = kernel::new_request("", &args.build, given)?.arch;
        let state = new_state(args, given, arch, &history)?;
        let judge = judge(args, arch, &mut progress)?;
        history.lock(&mut progress)?;
        if store.read().is_ok_and(|old| !old.finished) {
            progress.print("note", "the unfinished bisection of this tree is discarded");
        }
        store.clear()?;
        store.write(&state)?;
        return proceed(state, &store, &history, Some(judge), args.format, progress);
    }
    store.read()?;
    history.lock(&mut progress)?;
    let state = store.read()?;
    proceed(state, &store, &history, None, args.format, progress)
}

/// Checks the arguments and returns the state of a new bisection.
fn new_state(
    args: &BisectArgs,
    given: &GivenOptions,
    arch: Arch,
    history: &History<'_>,
) -> anyhow::Result<State> {
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
        if let Ok(absolute) = std::path::absolute(cli::path(path))
            && let Some(absolute) = absolute.to_str()
        {
            absolute.clone_into(path);
        }
    }
    let mut given = given.clone();
    given.replace("linux", source.linux.iter().cloned().collect());
    given.replace("config", source.config.clone());
    let good_is_new = history.is_ancestor(&bad, &good);
    let (ends, steps) = (Vec::new(), Vec::new());
    Ok(State { args, given, good, bad, good_is_new, ends, bisected: None, steps, finished: false })
}

/// Runs the remaining steps of a bisection, then prints and saves the report.
fn proceed(
    mut state: State,
    store: &Store,
    history: &History<'_>,
    known: Option<Judge>,
    format: &Form<Bisection>,
    mut progress: Progress,
) -> anyhow::Result<u8> {
    let request = kernel::new_request("", &state.args.build, &state.given)?;
    let judge = match known {
        Some(judge) => judge,
        None => judge(&state.args, request.arch, &mut progress)?,
    };
    let missing = history.missing_tools(&request);
    if !missing.is_empty() {
        setup::install(&missing, &mut progress)?;
    }
    let mut commits = CommitJudge { history, judge, request, store, progress };
    let ended = commits.judge_ends(&mut state).and_then(|()| commits.search(&mut state));
    let next = match ended {
        Ok(next) => next,
        Err(error) => {
            if matches!(failure::error_code(&error), Code::Interrupted | Code::Machine) {
                commits.progress.print("note", &resume_hint());
            } else {
                state.finished = true;
                store.write(&state)?;
            }
            return Err(error);
        }
    };
    state.finished = true;
    store.write(&state)?;
    let (text, found) = match &next {
        NextStep::Found(id) => {
            let commit = history.commit(id)?;
            (summary::found(&state, &commit, history, store.path()), vec![commit])
        }
        NextStep::Skipped(ids) => {
            let commits: Result<Vec<Commit>, _> = ids.iter().map(|id| history.commit(id)).collect();
            let commits = commits?;
            (summary::skipped(&state, &commits, store.path()), commits)
        }
        NextStep::ChangedBefore(id) => {
            return Err(Failure::usage(ancestor_message(&state, &history.commit(id)?)));
        }
        NextStep::Judge(..) => unreachable!("search() returns when no commit is left to judge"),
    };
    let code = if matches!(next, NextStep::Found(_)) { 0 } else { Code::Unjudged as u8 };
    let report = summary::report(&state, &found, code, store.path(), text);
    for form in Bisection::FORMS {
        store.write_file(form.file_name, &(form.render)(&report, Screen::FILE))?;
    }
    output::print(&(format.render)(&report, output::screen()))?;
    commits.progress.print("report", &store.path().display().to_string());
    Ok(code)
}

/// The machine that boots the kernels, and the unit of costs if a slowdown is bisected.
struct Judge {
    machine: Box<dyn Machine>,
    unit: Option<Unit>,
}

fn judge(args: &BisectArgs, arch: Arch, progress: &mut Progress) -> anyhow::Result<Judge> {
    if args.bench.is_none() {
        return Ok(Judge {
            machine: backend::prepare_machine(&args.vm, arch, progress)?,
            unit: None,
        });
    }
    let MeasuringMachine { machine, unit } =
        MeasuringMachine::choose(Some(CostUnit::Instructions), &args.vm, arch, progress)?;
    Ok(Judge { machine, unit: Some(unit) })
}

/// Builds and judges commits.
struct CommitJudge<'a> {
    history: &'a History<'a>,
    judge: Judge,
    request: Request,
    store: &'a Store,
    progress: Progress,
}

impl CommitJudge<'_> {
    /// Judges the ends that are not judged yet, and finds the cases to bisect: those whose outcomes
    /// differ in every run.
    fn judge_ends(&mut self, state: &mut State) -> anyhow::Result<()> {
        while state.ends.len() < 2 {
            let is_good = state.ends.is_empty();
            let (commit, name) =
                if is_good { (&state.good, "good-end") } else { (&state.bad, "bad-end") };
            self.progress.print("end", &commit_line(commit, if is_good { "good" } else { "bad" }));
            let selection = with_boot(requested_cases(&state.args)?);
            let started = Instant::now();
            let mut judged_commit = JudgedCommit::of(commit);
            self.run(&mut judged_commit, Some(&selection), name, state)?;
            judged_commit.times.all = millis(started.elapsed());
            state.ends.push(judged_commit);
            self.store.write(state)?;
        }
        if state.bisected.is_some() {
            return Ok(());
        }
        let (good, bad) = (&state.ends[0].runs[0], &state.ends[1].runs[0]);
        let (old, new) = if state.good_is_new { (bad, good) } else { (good, bad) };
        let Some((mut bisected, opposite)) = BisectedCases::between(old, new, !state.good_is_new)
        else {
            return Err(Failure::usage(no_difference_message(state)));
        };
        let found: Vec<String> = bisected.differences.iter().map(|d| d.id.clone()).collect();
        let mut ends = state.ends.clone();
        for again in 1..=state.args.confirm {
            for (end, name) in ends.iter_mut().zip(["good-end", "bad-end"]) {
                let is_new = (name == "good-end") == state.good_is_new;
                let selection = bisected_selection(&bisected, &state.args)?;
                let name = format!("{name}-again-{again}");
                let started = Instant::now();
                self.run(end, selection.as_ref(), &name, state)?;
                end.times.all += millis(started.elapsed());
                for id in bisected.confirm(end.runs.last().expect("it has just run"), is_new) {
                    let what = format!("{id} is not bisected: its outcome changes from run to run");
                    self.progress.print("note", &what);
                }
                if bisected.differences.is_empty() {
                    return Err(Failure::usage(format!(
                        "nothing to bisect: the cases that differ between {} and {} change their \
                         outcome from run to run: {}",
                        state.args.good(),
                        state.args.bad(),
                        found.join(" ")
                    )));
                }
            }
        }
        state.ends = ends;
        self.write_bisected(
            state,
            &bisected,
            &opposite.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(),
        );
        state.bisected = Some(bisected);
        self.store.write(state)
    }

    fn write_bisected(&mut self, state: &State, bisected: &BisectedCases, opposite: &[&str]) {
        for d in &bisected.differences {
            let what = format!("{}: {}, then {}", d.id, d.old.as_str(), d.new.as_str());
            self.progress.print("bisected", &what);
        }
        if bisected.terms == BisectionTerms::OldNew {
            let what = "bisecting a fix: the new end is better than the old one";
            self.progress.print("note", what);
        }
        if !opposite.is_empty() {
            let what = format!(
                "not bisected, because they changed in the other direction: {}",
                opposite.join(" ")
            );
            self.progress.print("note", &what);
        }
        if (bisected.terms == BisectionTerms::OldNew) != state.good_is_new {
            let what = format!(
                "the ends are the other way round: {} is better than {}",
                state.args.bad(),
                state.args.good()
            );
            self.progress.print("note", &what);
        }
    }

    /// Judges the commits that git chooses until none is left. Returns git's result.
    fn search(&mut self, state: &mut State) -> anyhow::Result<NextStep> {
        let bisected = state.bisected.clone().expect("known, once both ends are judged");
        let selection = bisected_selection(&bisected, &state.args)?;
        let (old, new) = state.old_new();
        let (bisection, mut next) = GitBisection::begin(
            self.history,
            bisected.terms,
            &old.id,
            &new.id,
            &mut self.progress,
        )?;
        for (judged_commit, mark) in &state.steps {
            next = bisection.mark(&judged_commit.commit.id, *mark, &mut self.progress)?;
        }
        loop {
            let log = bisection.log(&mut self.progress)?.join("\n");
            self.store.write_file(LOG_FILE, &format!("{log}\n"))?;
            let NextStep::Judge(id, left) = &next else { return Ok(next) };
            let started = Instant::now();
            let commit = self.history.commit(id)?;
            let number = state.steps.len() + 1;
            let about = u64::BITS - left.leading_zeros();
            let of = format!("{number} of about {}", state.steps.len() as u64 + u64::from(about));
            self.progress.print("step", &commit_line(&commit, &of));
            let mut judged_commit = JudgedCommit::of(&commit);
            let name = format!("{number:02}-{:.12}", commit.id);
            self.run(&mut judged_commit, selection.as_ref(), &name, state)?;
            let mut again = 0;
            while again < state.args.confirm
                && judged_commit.runs.last().is_some_and(|run| bisected.is_doubtful(run))
            {
                again += 1;
                self.progress
                    .print("doubtful", &format!("once more ({again} of {})", state.args.confirm));
                let name = format!("{name}-again-{again}");
                self.run(&mut judged_commit, selection.as_ref(), &name, state)?;
            }
            let mark = bisected.mark(&judged_commit.runs);
            next = bisection.mark(&commit.id, mark, &mut self.progress)?;
            judged_commit.times.all = millis(started.elapsed());
            self.progress.print("is", &summary::step_line(&judged_commit, mark, &bisected));
            state.steps.push((judged_commit, mark));
            self.store.write(state)?;
        }
    }

    /// Runs a commit once and adds the outcomes to `judged_commit`. Builds its kernel unless it is
    /// cached, and boots it unless `selection` is `None`.
    fn run(
        &mut self,
        judged_commit: &mut JudgedCommit,
        selection: Option<&Selection>,
        name: &str,
        state: &State,
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
        times: &mut Times,
        state: &State,
    ) -> anyhow::Result<RunOutcomes> {
        let args = &state.args;
        let build = |outcome, got: String| CaseOutcome {
            id: BUILD_ID.to_owned(),
            outcome,
            got,
            cost: None,
        };
        let started = Instant::now();
        let image = match self.history.kernel(&self.request, commit, &mut self.progress) {
            Ok(image) => image,
            Err(error) if error.fault() == Fault::Kernel => {
                times.make += millis(started.elapsed());
                let mut why = error.to_string();
                if let Some(log) = error.log() {
                    folder.copy_in("build.log", log)?;
                    // The next step overwrites the log in the build slot.
                    let kept = folder.path().join("build.log").display().to_string();
                    why = why.replace(&log.display().to_string(), &kept);
                }
                let cases = vec![build(Outcome::Fail, why.clone())];
                return Ok(RunOutcomes { cases, unjudged: Some(why) });
            }
            Err(error) => return Err(error.into()),
        };
        times.make += millis(image.make_duration);
        let mut outcomes =
            RunOutcomes { cases: vec![build(Outcome::Pass, String::new())], unjudged: None };
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
            rerun: Rerun::new(RerunVerb::Run, &commit.id, &state.given),
            recorder: None,
        };
        let started = Instant::now();
        let verdict = kernel::judge_image(
            &image,
            &request,
            &*self.judge.machine,
            &options,
            selection,
            folder,
            &mut self.progress,
        )?;
        times.vm += millis(started.elapsed());
        reports::write_forms(&verdict, folder)?;
        // The initramfs is the same in every step and larger than the other files.
        let _ = std::fs::remove_file(folder.path().join("initramfs.cpio"));
        outcomes.unjudged.clone_from(&verdict.unjudged_reason);
        let measured = self.measured(&verdict, args)?;
        for case in verdict.cases {
            if case.id == BOOT && case.outcome.is_failure() {
                outcomes.unjudged = Some(format!("this kernel does not boot: {}", case.got));
            }
            let (case, cost) = match (&args.bench, measured) {
                (Some(name), Some(cost)) if case.id == slowdown::case_id(name) => {
                    let good = state.cost_at_good_end(&case.id);
                    (slowdown::judge_cost(case, cost, good, args.threshold), Some(cost))
                }
                _ => (case, None),
            };
            outcomes.cases.push(CaseOutcome {
                id: case.id,
                outcome: case.outcome,
                got: case.got,
                cost,
            });
        }
        Ok(outcomes)
    }

    /// The cost of the bisected benchmark; `None` if cases are bisected or the benchmark did not
    /// run.
    fn measured(
        &self,
        verdict: &Verdict,
        args: &BisectArgs,
    ) -> anyhow::Result<Option<MilliInstructions>> {
        let (Some(name), Some(unit)) = (&args.bench, self.judge.unit) else { return Ok(None) };
        match slowdown::cost(verdict, unit, name) {
            // The verdict says why nothing was measured.
            Err(error) if failure::error_code(&error) == Code::Unjudged => Ok(None),
            cost => cost,
        }
    }
}

impl JudgedCommit {
    fn of(commit: &Commit) -> JudgedCommit {
        let (runs, folders, times) = (Vec::new(), Vec::new(), Times::default());
        JudgedCommit { commit: commit.clone(), runs, folders, times }
    }
}

/// The cases that the arguments select.
fn requested_cases(args: &BisectArgs) -> anyhow::Result<Selection> {
    match &args.bench {
        Some(name) => measure::select_benchmarks(name),
        None => selection::parse_selection(args.cases.as_deref().unwrap_or_default()),
    }
}

/// The selection with `boot/reaches-init` added.
fn with_boot(selection: Selection) -> Selection {
    Selection { includes_boot: true, ..selection }
}

/// The bisected cases and `boot/reaches-init`; `None` if only the build is bisected.
fn bisected_selection(
    bisected: &BisectedCases,
    args: &BisectArgs,
) -> anyhow::Result<Option<Selection>> {
    if bisected.only_build() {
        return Ok(None);
    }
    let selection = match &args.bench {
        Some(_) => requested_cases(args)?,
        None => selection::parse_selection(&bisected.cases())?,
    };
    Ok(Some(with_boot(selection)))
}

fn commit_line(commit: &Commit, what: &str) -> String {
    format!("{what}: {:.12} {}", commit.id, sudbox_report::text::escaped_line(&commit.subject))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
