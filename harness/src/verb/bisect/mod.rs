// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox bisect`: finds the commit between two that changed how a kernel keeps its promises.
//!
//! Both ends are judged as `run` judges a kernel; what differs is sought by git's own bisection.
//! What is known is written down after every step: a bisection that was interrupted, killed or cut
//! off goes on where it was.

mod slower;
mod sought;
mod state;
mod summary;

use crate::cli::{self, BisectArgs, By, Given};
use crate::failure::{self, Code, Failure};
use crate::kernel::{self, JudgeOptions};
use crate::measure::{self, Means};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::{Rerun, RerunVerb};
use crate::output::{self, reports};
use crate::selection::{self, BOOT, Selection};
use crate::{backend, capacity, setup};
use slower::Figure;
use sought::{BUILD, Seen, Shown, Sought};
use state::{State, Store, Times, Trial};
use std::time::{Duration, Instant};
use sudbox_guest_init::bench::TABLE;
use sudbox_images::{
    Arch, Bisection as GitBisection, Cache, Commit, Fault, History, Next, Request, Terms,
};
use sudbox_report::bisection::Bisection;
use sudbox_report::costs::Unit;
use sudbox_report::{Form, Outcome, Report as _, Screen, Verdict};
use sudbox_vmm::machine::Machine;

/// git's log of the bisection, in the bisection's folder.
const LOG: &str = "git-bisect.log";

/// Runs and returns the exit code.
pub(crate) fn bisect(args: &BisectArgs, given: &Given) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let cache = Cache::open()?;
    let linux = match &args.build.source.linux {
        None if args.resume => Store::last(&cache)?.args.build.source.linux,
        linux => linux.clone(),
    };
    let Some(linux) = linux else {
        return Err(Failure::usage("in which history? --linux (LINUX=) names a git tree of Linux"));
    };
    let mut history = History::open(&cache, &cli::path(&linux))?;
    let store = Store::of(&cache, history.key());
    if !args.resume {
        // Whatever is wrong with what was typed is told before anything is written.
        let arch = kernel::request("", &args.build, given)?.arch;
        let state = begin(args, given, arch, &history)?;
        let judge = judge(args, arch, &mut progress)?;
        history.lock(&mut progress)?;
        if store.read().is_ok_and(|old| !old.over) {
            progress.say("note", "the bisection of this tree that was not over is given up");
        }
        store.clear()?;
        store.write(&state)?;
        return go_on(state, &store, &history, Some(judge), args.format, progress);
    }
    store.read()?;
    history.lock(&mut progress)?;
    let state = store.read()?;
    go_on(state, &store, &history, None, args.format, progress)
}

/// Understands what was typed.
fn begin(
    args: &BisectArgs,
    given: &Given,
    arch: Arch,
    history: &History<'_>,
) -> anyhow::Result<State> {
    let (Some(good_name), Some(bad_name)) = (&args.good, &args.bad) else {
        return Err(Failure::usage(
            "between which commits? --good (GOOD=) names one at which all is well, --bad (BAD=) one \
             at which it is not",
        ));
    };
    if args.vm.gdb {
        return Err(Failure::usage("--gdb waits for a person, and a bisection does not"));
    }
    asked_for(args)?.on(arch)?;
    if let Some(name) = &args.bench
        && !TABLE.iter().any(|case| case.id == slower::id(name))
    {
        return Err(Failure::usage(format!("--bench takes one name, not `{name}`")));
    }
    let (good, bad) = (history.commit(good_name)?, history.commit(bad_name)?);
    if good.id == bad.id {
        return Err(Failure::usage(format!(
            "{good_name} and {bad_name} are the same commit, {:.12}: there is none between them",
            good.id
        )));
    }
    // Whoever goes on with it may be in another directory.
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
    Ok(State { args, given, good, bad, good_is_new, ends, sought: None, steps, over: false })
}

/// Takes a bisection from where it is to its end.
fn go_on(
    mut state: State,
    store: &Store,
    history: &History<'_>,
    known: Option<Judge>,
    format: &Form<Bisection>,
    mut progress: Progress,
) -> anyhow::Result<u8> {
    let request = kernel::request("", &state.args.build, &state.given)?;
    let judge = match known {
        Some(judge) => judge,
        None => judge(&state.args, request.arch, &mut progress)?,
    };
    let missing = history.missing_tools(&request);
    if !missing.is_empty() {
        setup::install(&missing, &mut progress)?;
    }
    let mut commits = CommitJudge { history, judge, request, store, progress };
    let ended = commits.judge_ends(&mut state).and_then(|()| commits.seek(&mut state));
    let next = match ended {
        Ok(next) => next,
        Err(error) => {
            if matches!(failure::code(&error), Code::Interrupted | Code::Machine) {
                commits.progress.say("note", &how_to_go_on());
            } else {
                state.over = true;
                store.write(&state)?;
            }
            return Err(error);
        }
    };
    state.over = true;
    store.write(&state)?;
    let (text, found) = match &next {
        Next::Found(id) => {
            let commit = history.commit(id)?;
            (summary::found(&state, &commit, history, store.path()), vec![commit])
        }
        Next::Skipped(ids) => {
            let commits: Result<Vec<Commit>, _> = ids.iter().map(|id| history.commit(id)).collect();
            let commits = commits?;
            (summary::skipped(&state, &commits, store.path()), commits)
        }
        Next::ChangedBefore(id) => {
            return Err(Failure::usage(changed_before(&state, &history.commit(id)?)));
        }
        Next::Judge(..) => unreachable!("seek() ends where there is nothing left to judge"),
    };
    let code = if matches!(next, Next::Found(_)) { 0 } else { Code::Unjudged as u8 };
    let report = summary::report(&state, &found, code, store.path(), text);
    for form in Bisection::FORMS {
        store.keep(form.file_name, &(form.render)(&report, Screen::FILE))?;
    }
    output::print(&(format.render)(&report, output::screen()))?;
    commits.progress.say("report", &store.path().display().to_string());
    Ok(code)
}

fn how_to_go_on() -> String {
    let command = if std::env::var_os("SUDBOX_MAKE").is_some() {
        "make bisect RESUME=1"
    } else {
        "sudbox bisect --resume"
    };
    format!("what is known is kept; `{command}` goes on from here")
}

fn changed_before(state: &State, base: &Commit) -> String {
    let (old, new) = state.old_new();
    format!(
        "{:.12} and {:.12} are on two branches, and their common ancestor {:.12} is already as the \
         second: what differs was changed on the first one's branch; bisect between {:.12} and \
         {:.12}",
        old.id, new.id, base.id, base.id, old.id
    )
}

/// The machine that runs commits, and the unit of costs if a slowdown is bisected.
struct Judge {
    machine: Box<dyn Machine>,
    unit: Option<Unit>,
}

fn judge(args: &BisectArgs, arch: Arch, progress: &mut Progress) -> anyhow::Result<Judge> {
    if args.bench.is_none() {
        return Ok(Judge { machine: backend::machine(&args.vm, arch, progress)?, unit: None });
    }
    let Means { machine, unit } = Means::of(Some(By::Instructions), &args.vm, arch, progress)?;
    Ok(Judge { machine, unit: Some(unit) })
}

/// Judges commits.
struct CommitJudge<'a> {
    history: &'a History<'a>,
    judge: Judge,
    request: Request,
    store: &'a Store,
    progress: Progress,
}

impl CommitJudge<'_> {
    /// Judges what is not judged yet of the ends, and learns what is sought.
    fn judge_ends(&mut self, state: &mut State) -> anyhow::Result<()> {
        while state.ends.len() < 2 {
            let is_good = state.ends.is_empty();
            let (commit, name) =
                if is_good { (&state.good, "good-end") } else { (&state.bad, "bad-end") };
            self.progress.say("end", &line_of(commit, if is_good { "good" } else { "bad" }));
            let selection = with_boot(asked_for(&state.args)?);
            let started = Instant::now();
            let mut trial = Trial::of(commit);
            self.run(&mut trial, Some(&selection), name, state)?;
            trial.times.all = millis(started.elapsed());
            state.ends.push(trial);
            self.store.write(state)?;
        }
        if state.sought.is_some() {
            return Ok(());
        }
        let (good, bad) = (&state.ends[0].runs[0], &state.ends[1].runs[0]);
        let (old, new) = if state.good_is_new { (bad, good) } else { (good, bad) };
        let Some((mut sought, aside)) = Sought::between(old, new, !state.good_is_new) else {
            return Err(Failure::usage(nothing_differs(state)));
        };
        let found: Vec<String> = sought.differences.iter().map(|d| d.id.clone()).collect();
        let mut ends = state.ends.clone();
        for again in 1..=state.args.confirm {
            for (end, name) in ends.iter_mut().zip(["good-end", "bad-end"]) {
                let is_new = (name == "good-end") == state.good_is_new;
                let selection = selection_of(&sought, &state.args)?;
                let name = format!("{name}-again-{again}");
                let started = Instant::now();
                self.run(end, selection.as_ref(), &name, state)?;
                end.times.all += millis(started.elapsed());
                for id in sought.confirm(end.runs.last().expect("it has just run"), is_new) {
                    let what =
                        format!("{id} does not come out the same each time, and is not sought");
                    self.progress.say("note", &what);
                }
                if sought.differences.is_empty() {
                    return Err(Failure::usage(format!(
                        "what differs between {} and {} does not come out the same each time: {}; \
                         there is nothing to seek",
                        state.args.good(),
                        state.args.bad(),
                        found.join(" ")
                    )));
                }
            }
        }
        state.ends = ends;
        self.tell_sought(state, &sought, &aside.iter().map(|d| d.id.as_str()).collect::<Vec<_>>());
        state.sought = Some(sought);
        self.store.write(state)
    }

    fn tell_sought(&mut self, state: &State, sought: &Sought, aside: &[&str]) {
        for d in &sought.differences {
            let what = format!("{}: {}, then {}", d.id, d.old.as_str(), d.new.as_str());
            self.progress.say("sought", &what);
        }
        if sought.terms == Terms::OldNew {
            let what = "it was mended: looking for the commit that did, in git's terms old and new";
            self.progress.say("note", what);
        }
        if !aside.is_empty() {
            let what = format!("the other way round, and left aside: {}", aside.join(" "));
            self.progress.say("note", &what);
        }
        if (sought.terms == Terms::OldNew) != state.good_is_new {
            let what = format!(
                "the ends are the other way round: {} is better than {}",
                state.args.bad(),
                state.args.good()
            );
            self.progress.say("note", &what);
        }
    }

    /// Lets git choose commits until there is none left to judge.
    fn seek(&mut self, state: &mut State) -> anyhow::Result<Next> {
        let sought = state.sought.clone().expect("known, once both ends are judged");
        let selection = selection_of(&sought, &state.args)?;
        let (old, new) = state.old_new();
        let (bisection, mut next) =
            GitBisection::begin(self.history, sought.terms, &old.id, &new.id, &mut self.progress)?;
        for (trial, mark) in &state.steps {
            next = bisection.mark(&trial.commit.id, *mark, &mut self.progress)?;
        }
        loop {
            let log = bisection.log(&mut self.progress)?.join("\n");
            self.store.keep(LOG, &format!("{log}\n"))?;
            let Next::Judge(id, left) = &next else { return Ok(next) };
            let started = Instant::now();
            let commit = self.history.commit(id)?;
            let number = state.steps.len() + 1;
            let about = u64::BITS - left.leading_zeros();
            let of = format!("{number} of about {}", state.steps.len() as u64 + u64::from(about));
            self.progress.say("step", &line_of(&commit, &of));
            let mut trial = Trial::of(&commit);
            let name = format!("{number:02}-{:.12}", commit.id);
            self.run(&mut trial, selection.as_ref(), &name, state)?;
            let mut again = 0;
            while again < state.args.confirm
                && trial.runs.last().is_some_and(|run| sought.is_doubtful(run))
            {
                again += 1;
                self.progress
                    .say("doubtful", &format!("once more ({again} of {})", state.args.confirm));
                let name = format!("{name}-again-{again}");
                self.run(&mut trial, selection.as_ref(), &name, state)?;
            }
            let mark = sought.mark(&trial.runs);
            next = bisection.mark(&commit.id, mark, &mut self.progress)?;
            trial.times.all = millis(started.elapsed());
            self.progress.say("is", &summary::judged(&trial, mark, &sought));
            state.steps.push((trial, mark));
            self.store.write(state)?;
        }
    }

    /// One run of a commit: built if need be, and booted if anything but its build is of interest.
    fn run(
        &mut self,
        trial: &mut Trial,
        selection: Option<&Selection>,
        name: &str,
        state: &State,
    ) -> anyhow::Result<()> {
        let folder = RunFolder::at(self.store.path().join(name), self.store.owner())?;
        trial.folders.push(name.to_owned());
        let Trial { commit, times, .. } = trial;
        let seen = self.seen(commit, selection, &folder, times, state)?;
        trial.runs.push(seen);
        Ok(())
    }

    fn seen(
        &mut self,
        commit: &Commit,
        selection: Option<&Selection>,
        folder: &RunFolder,
        times: &mut Times,
        state: &State,
    ) -> anyhow::Result<Seen> {
        let args = &state.args;
        let build =
            |outcome, got: String| Shown { id: BUILD.to_owned(), outcome, got, figure: None };
        let started = Instant::now();
        let image = match self.history.kernel(&self.request, commit, &mut self.progress) {
            Ok(image) => image,
            Err(error) if error.fault() == Fault::Kernel => {
                times.make += millis(started.elapsed());
                let mut why = error.to_string();
                if let Some(log) = error.log() {
                    folder.keep("build.log", log)?;
                    // The next step writes over the one in the build slot.
                    let kept = folder.path().join("build.log").display().to_string();
                    why = why.replace(&log.display().to_string(), &kept);
                }
                let shown = vec![build(Outcome::Fail, why.clone())];
                return Ok(Seen { shown, unjudged: Some(why) });
            }
            Err(error) => return Err(error.into()),
        };
        times.make += millis(image.make);
        let mut seen = Seen { shown: vec![build(Outcome::Pass, String::new())], unjudged: None };
        let Some(selection) = selection else { return Ok(seen) };
        let request = Request { reference: commit.id.clone(), ..self.request.clone() };
        let options = JudgeOptions {
            vm: args.vm.clone(),
            isolate: false,
            strict: false,
            repeat: 1,
            timeout: match args.bench {
                Some(_) => measure::TIMEOUT,
                None => Duration::from_secs(args.timeout),
            },
            side_by_side: capacity::vms(&args.vm),
            rerun: Rerun::new(RerunVerb::Run, &commit.id, &state.given),
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
        reports::write(&verdict, folder)?;
        // The same in every step, and larger than all the rest.
        let _ = std::fs::remove_file(folder.path().join("initramfs.cpio"));
        seen.unjudged.clone_from(&verdict.unjudged);
        let measured = self.measured(&verdict, args)?;
        for case in verdict.cases {
            if case.id == BOOT && case.outcome.is_failure() {
                seen.unjudged = Some(format!("this kernel does not boot: {}", case.got));
            }
            let (case, figure) = match (&args.bench, measured) {
                (Some(name), Some(figure)) if case.id == slower::id(name) => {
                    let good = state.figure_of_good(&case.id);
                    (slower::weigh(case, figure, good, args.threshold), Some(figure))
                }
                _ => (case, None),
            };
            seen.shown.push(Shown { id: case.id, outcome: case.outcome, got: case.got, figure });
        }
        Ok(seen)
    }

    /// The cost of the bisected benchmark, if one is bisected and it was measured.
    fn measured(&self, verdict: &Verdict, args: &BisectArgs) -> anyhow::Result<Option<Figure>> {
        let (Some(name), Some(unit)) = (&args.bench, self.judge.unit) else { return Ok(None) };
        match slower::figure(verdict, unit, name) {
            // The verdict says why nothing was measured.
            Err(error) if failure::code(&error) == Code::Unjudged => Ok(None),
            figure => figure,
        }
    }
}

impl Trial {
    fn of(commit: &Commit) -> Trial {
        let (runs, folders, times) = (Vec::new(), Vec::new(), Times::default());
        Trial { commit: commit.clone(), runs, folders, times }
    }
}

/// The cases that a person asked for.
fn asked_for(args: &BisectArgs) -> anyhow::Result<Selection> {
    match &args.bench {
        Some(name) => measure::select(name),
        None => selection::select(args.cases.as_deref().unwrap_or_default()),
    }
}

/// These cases, and booting.
fn with_boot(selection: Selection) -> Selection {
    Selection { boot: true, ..selection }
}

/// The cases that are sought, and booting; `None` if only the build is.
fn selection_of(sought: &Sought, args: &BisectArgs) -> anyhow::Result<Option<Selection>> {
    if sought.only_build() {
        return Ok(None);
    }
    let selection = match &args.bench {
        Some(_) => asked_for(args)?,
        None => selection::select(&sought.cases())?,
    };
    Ok(Some(with_boot(selection)))
}

fn nothing_differs(state: &State) -> String {
    let [good, bad] = [state.args.good(), state.args.bad()];
    let (of_good, of_bad) = (&state.ends[0].runs[0], &state.ends[1].runs[0]);
    if let (Some(why), _) | (_, Some(why)) = (&of_good.unjudged, &of_bad.unjudged) {
        return format!("nothing is known to differ between {good} and {bad}, because {why}");
    }
    if let Some(name) = &state.args.bench {
        let got = |seen: &Seen| {
            seen.of(&slower::id(name)).map_or_else(|| "nothing".to_owned(), |it| it.got.clone())
        };
        return format!(
            "{name} is not slower at {bad} by more than {}: it takes {}, and {} at {good}",
            state.args.threshold,
            got(of_bad),
            got(of_good)
        );
    }
    let broken = of_bad.shown.iter().filter(|shown| shown.outcome.is_failure());
    let broken: Vec<&str> = broken.map(|shown| shown.id.as_str()).collect();
    let cases = of_bad.shown.len() - 1;
    let what = if broken.is_empty() {
        "no promise is broken at either".to_owned()
    } else {
        format!("broken at both: {}", broken.join(" "))
    };
    format!(
        "nothing differs between {good} and {bad}: all {cases} cases come out the same at both \
         ends, {what}; there is no commit to seek"
    )
}

fn line_of(commit: &Commit, what: &str) -> String {
    format!("{what}: {:.12} {}", commit.id, sudbox_report::text::line(&commit.subject))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
