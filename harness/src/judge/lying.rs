// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Generated guests that lie, judged as VMs are: from the messages to the exit code.

use super::*;
use crate::cli::UserOptions;
use crate::output::rerun::RerunVerb;
use crate::selection::parse_selection;
use crate::session::cases::{CasesRun, MAX_LOG_BYTES, run_cases};
use crate::session::conversation::{Ending, TOTAL_LIMIT_FACTOR};
use crate::session::lying::{self, Liar, liar};
use crate::session::running_guest::script::{Script, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::LazyLock;
use sudbox_images::Arch;
use sudbox_protocol::{CaseResult, FrameReader, GuestMessage, MAX_BODY, PlannedCase, ResultKind};
use sudbox_report::Judgement;
use sudbox_vmm::session::Event;

const TIMEOUTS: Timeouts = Timeouts { boot: Duration::from_secs(4), case: Duration::from_secs(2) };

/// Guests that are played one after the other. Those after the list are honest.
pub(crate) struct Liars {
    liars: Vec<Liar>,
    plays: Mutex<Vec<Play>>,
}

/// The events of a guest, and what the host took of them.
struct Play {
    plan: Vec<PlannedCase>,
    /// The events that the host got.
    steps: Vec<Step>,
    elapsed: Duration,
    ended: Vec<CaseResult>,
    is_running: bool,
    has_all_results: bool,
    is_finished: bool,
    largest_log: usize,
    /// The most bytes of another message that were kept of a case.
    largest_rest: usize,
}

impl Liars {
    pub(super) fn run(&self, plan: Vec<PlannedCase>, runner: &CaseRunner<'_>) -> CasesRun {
        let mut plays = self.plays.lock().unwrap();
        let liar = self.liars.get(plays.len()).cloned().unwrap_or_else(Liar::honest);
        let mut steps = lying::steps(&liar, plan.len());
        let mut guest = Script::of_steps(lying::played(steps.clone(), liar.is_endless));
        guest.reads = liar.reads;
        let records = runner.recorder.is_some();
        let run = run_cases(&mut guest, plan.clone(), records, runner.timeouts, &mut |_| {});
        steps.truncate(guest.played_steps);
        let size = |log: &[String]| log.iter().map(String::len).sum::<usize>();
        let logs = run.ended_cases.iter().map(|case| size(&case.log));
        plays.push(Play {
            plan,
            steps,
            elapsed: guest.elapsed(),
            ended: run.ended_cases.iter().map(|case| case.result.clone()).collect(),
            is_running: run.running_case.is_some(),
            has_all_results: run.has_all_results,
            is_finished: run.conversation.ending == Ending::Finished,
            largest_log: logs.chain([size(&run.running_case_log)]).max().unwrap_or(0),
            largest_rest: run
                .ended_cases
                .iter()
                .map(|case| case.measurement.as_ref().map_or(0, |values| values.batches.len() * 8))
                .max()
                .unwrap_or(0),
        });
        run
    }
}

impl Play {
    /// The messages that arrived, as far as they can be decoded.
    fn messages(&self) -> Vec<GuestMessage> {
        let mut frames = FrameReader::default();
        let mut messages = Vec::new();
        for step in &self.steps {
            if let Event::Bytes(bytes) = &step.event {
                frames.push(bytes);
            }
            while let Ok(Some(body)) = frames.next_body() {
                let Ok(message) = GuestMessage::decode(&body) else { return messages };
                messages.push(message);
            }
        }
        messages
    }

    /// Whether the kernel or guest-init reported a fault after its first case began.
    fn has_kernel_fault(&self) -> bool {
        let mut frames = FrameReader::default();
        let mut has_started = false;
        for step in &self.steps {
            if has_started && lying::has_fault(&step.printed) {
                return true;
            }
            if let Event::Bytes(bytes) = &step.event {
                frames.push(bytes);
            }
            while let Ok(Some(body)) = frames.next_body() {
                has_started |=
                    matches!(GuestMessage::decode(&body), Ok(GuestMessage::Start { .. }));
            }
        }
        false
    }

    /// Checks what the host took of this guest.
    fn check(&self) -> Result<(), TestCaseError> {
        let messages = self.messages();
        let told: Vec<(usize, &CaseResult)> = messages
            .iter()
            .filter_map(|message| match message {
                GuestMessage::End { case, result, .. } => Some((*case as usize, result)),
                _ => None,
            })
            .collect();
        // A case has the result that the guest told of it, in the order of the plan.
        prop_assert!(self.ended.len() <= self.plan.len());
        for (index, result) in self.ended.iter().enumerate() {
            prop_assert_eq!(told.get(index), Some(&(index, result)));
        }
        if self.has_all_results {
            prop_assert!(self.is_finished);
            prop_assert_eq!(self.ended.len(), self.plan.len());
            let kinds: Vec<ResultKind> = self.ended.iter().map(CaseResult::kind).collect();
            prop_assert!(messages.contains(&GuestMessage::AllResults(kinds)));
        }
        // Each guest that finished has brought the run forward.
        prop_assert!(!self.is_finished || !self.ended.is_empty());
        prop_assert!(!self.is_finished || !self.is_running);
        // A boot, the cases that ended, one that did not, and the time before the first. In each
        // phase the host also sends once.
        let phases = u32::try_from(self.ended.len()).unwrap() + 2;
        let limit =
            TIMEOUTS.boot * TOTAL_LIMIT_FACTOR + TIMEOUTS.case * (TOTAL_LIMIT_FACTOR + 1) * phases;
        prop_assert!(self.elapsed <= limit, "{:?} of {limit:?}", self.elapsed);
        prop_assert!(self.largest_log <= MAX_LOG_BYTES);
        prop_assert!(self.largest_rest <= MAX_BODY);
        Ok(())
    }
}

/// Cases that run on every machine and have no recorded bug.
static CASES: LazyLock<Vec<&'static Case>> = LazyLock::new(|| {
    let core = parse_selection("core").unwrap().cases;
    let plain = core
        .into_iter()
        .filter(|case| case.known_bugs.is_empty() && case.needs.is_empty() && !case.checks_absence);
    plain.take(4).collect()
});

static RERUN: LazyLock<RerunCommand> =
    LazyLock::new(|| RerunCommand::new(RerunVerb::Run, "6.12", &UserOptions::default()));

/// The options of a run.
#[derive(Clone, Copy, Debug)]
struct Setting {
    case_count: usize,
    runs_per_case: u32,
    isolate_cases: bool,
    records: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    (1usize..=4, 1u32..=2, 0u8..4).prop_map(|(case_count, runs_per_case, flags)| Setting {
        case_count,
        runs_per_case,
        isolate_cases: flags == 1,
        records: flags == 2,
    })
}

/// Judges the liars. Returns their plays, the verdict, and the exit code.
fn judge(liars: Vec<Liar>, setting: Setting) -> (Vec<Play>, Verdict, u8) {
    let liars = Liars { liars, plays: Mutex::default() };
    let runner = CaseRunner {
        environment: Environment::HostKernel,
        vmlinux: None,
        timeouts: TIMEOUTS,
        case_deadline: TIMEOUTS.case / 2,
        runs_per_case: setting.runs_per_case,
        isolate_cases: setting.isolate_cases,
        max_parallel_vms: 1,
        boot_arguments: "",
        show_console: false,
        rerun: RERUN.clone(),
        recorder: setting.records.then(Arc::default),
        baseline: None,
        liars: Some(&liars),
    };
    let cases = CASES[..setting.case_count].to_vec();
    let selection = Selection { cases, includes_boot: false };
    let config = "CONFIG_GENERIC_ENTRY=y\n";
    let mut expectations = Expectations::new(Arch::X86_64, Some("6.12.0"), Some(config), None);
    let mut verdict = Verdict::default();
    let mut progress = Progress::silent();
    let result = runner.judge(
        &selection,
        &mut expectations,
        &mut verdict,
        &mut String::new(),
        &mut progress,
    );
    let code = match result {
        Ok(()) => Judgement::from_verdict(&verdict).exit_code(),
        Err(error) => failure::error_code(&error) as u8,
    };
    drop(runner);
    (liars.plays.into_inner().unwrap(), verdict, code)
}

/// Checks the exit code against what the guests told.
fn check_exit_code(
    plays: &[Play],
    verdict: &Verdict,
    code: u8,
    setting: Setting,
) -> Result<(), TestCaseError> {
    let told: Vec<&CaseResult> = plays.iter().flat_map(|play| &play.ended).collect();
    let has_broken = told.iter().any(|result| matches!(result, CaseResult::Broken(_)));
    let has_failure = told.iter().any(|result| {
        matches!(
            result,
            CaseResult::Fail { .. } | CaseResult::Hang | CaseResult::Absent(Feature::Dispatch)
        )
    });
    let is_interrupted =
        plays.iter().any(|play| play.steps.iter().any(|step| step.event == Event::Interrupted));
    let all_finished = plays.iter().all(|play| play.is_finished);
    let has_kernel_fault = plays.iter().any(Play::has_kernel_fault);
    match code {
        0 => {
            // Every case ran as often as it was planned, and none as the kernel should not.
            prop_assert_eq!(told.len(), setting.case_count * setting.runs_per_case as usize);
            prop_assert!(told.contains(&&CaseResult::Pass));
            prop_assert!(!has_failure && !has_broken && !has_kernel_fault && all_finished);
            prop_assert_eq!(verdict.cases.len(), setting.case_count);
        }
        1 => prop_assert!(has_failure || has_kernel_fault || !all_finished),
        125 => prop_assert!(!all_finished || told.iter().any(|r| **r != CaseResult::Pass)),
        128 => prop_assert!(has_broken),
        130 => prop_assert!(is_interrupted),
        code => prop_assert!(false, "exit code {code}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(lying::config(2000))]

    /// Whatever guests send, a run ends in bounded time and memory, and says that a kernel keeps
    /// its promises only if every case ran and passed.
    #[test]
    fn no_sequence_of_events_makes_a_wrong_verdict(
        liars in vec(liar(), 1..4),
        setting in setting(),
    ) {
        let (plays, verdict, code) = judge(liars, setting);
        for play in &plays {
            play.check()?;
        }
        // Every guest ends a case, or the run.
        let runs = setting.case_count * setting.runs_per_case as usize;
        prop_assert!(plays.len() <= runs, "{} guests", plays.len());
        check_exit_code(&plays, &verdict, code, setting)?;
    }

    /// An honest guest passes, in whatever pieces and however slowly its bytes arrive.
    #[test]
    fn an_honest_guest_passes(
        setting in setting(),
        mut moves in vec((prop_oneof![0u8..40, 56u8..59], 0u8..230, 0u8..251), 64),
    ) {
        // What is kept back arrives with the last move.
        moves.push((0, 0, 1));
        let liar = Liar { moves, is_endless: false, reads: true };
        let (_, verdict, code) = judge(vec![liar], setting);
        prop_assert_eq!(code, 0, "{:?}", verdict.cases);
        prop_assert!(verdict.cases.iter().all(|case| case.outcome == Outcome::Pass));
    }
}

/// The generated guests reach every end of a run.
#[test]
fn generated_guests_reach_every_exit_code() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..3000 {
        let tree = (vec(liar(), 1..4), setting()).new_tree(&mut runner).unwrap();
        let (liars, setting) = tree.current();
        *counts.entry(judge(liars, setting).2).or_insert(0) += 1;
    }
    for code in [0, 1, 125, 128, 130] {
        assert!(counts.get(&code).is_some_and(|count| *count >= 10), "{counts:?}");
    }
}
