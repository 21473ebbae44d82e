// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox campaign`: hours of random walks and random points of the grid on one kernel.

mod corpus;
mod state;

use crate::behaviour::Recorder;
use crate::cli::{CampaignArgs, UserOptions};
use crate::failure::{self, Code, Failure};
use crate::kernel::{self, JudgeOptions};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::selection::{self, Selection};
use crate::{backend, capacity, guest, interrupt, running};
use state::{Batch, CampaignState, CampaignStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sudbox_guest_init::walk;
use sudbox_images::{Cache, KernelImage, Request};
use sudbox_report::campaign::{Campaign, SCHEMA};
use sudbox_report::{Outcome, Verdict};
use sudbox_vmm::machine::Machine;

/// Time without progress after which a boot is a hang; the deadline of a walk is a sixth of it. It is longer than
/// that of `run`, because campaigns often have the lowest priority on a busy machine.
const WALKS_TIMEOUT: Duration = Duration::from_secs(360);

/// As [`WALKS_TIMEOUT`], for a product of ten thousand points, which takes minutes on a busy machine.
const POINTS_TIMEOUT: Duration = Duration::from_secs(3600);

/// Maximum number of kept walks that one VM replays.
const MAX_REPLAYS: usize = 200;

/// Runs a campaign. Returns the exit code.
pub(crate) fn campaign(args: &CampaignArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let kernel = args.kernel.as_deref().unwrap_or_default();
    if kernel == running::REFERENCE {
        return Err(Failure::usage(
            "a campaign may crash its kernel, so it runs kernels in VMs only: name another",
        ));
    }
    if args.vm.gdb {
        return Err(Failure::usage("--gdb is about one VM, and a campaign has many"));
    }
    let mut progress = Progress::new();
    let request = kernel::new_request(kernel, &args.build, user_options)?;
    let request = kernel::with_patches(request, &args.patches);
    let machine = backend::prepare_machine(&args.vm, request.arch, &mut progress)?;
    let cache = Cache::open()?;
    let image = kernel::find_or_build(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(&cache)?;
    let store = open_store(args, &cache, &image, &request, &mut progress)?;
    let saved = if args.restart { None } else { store.read()? };
    if let (Some(saved), Some(seed)) = (&saved, args.seed)
        && saved.campaign.seed != seed
    {
        return Err(Failure::usage(format!(
            "the campaign of this kernel has seed {}: leave --seed {seed} out to go on, or start a \
             new one with --restart",
            saved.campaign.seed
        )));
    }
    let mut state = saved.unwrap_or_else(|| {
        CampaignState::new(Campaign {
            schema: SCHEMA,
            kernel: kernel::kernel_for_report(&image, &request),
            machine: machine.describe(kernel::device_discovery(&image)),
            shard: args.shard.map_or(String::new(), |s| format!("{}/{}", s.number, s.count)),
            seed: args.seed.unwrap_or_else(selection::seed_by_clock),
            ..Campaign::default()
        })
    });
    state.take_up();
    state.campaign.runs += 1;
    progress.print("campaign", &description(&state.campaign, args.hours));
    let run = CampaignRun {
        args,
        image: &image,
        request: &request,
        machine: &*machine,
        store: &store,
        rerun: RerunCommand::new(RerunVerb::Run, kernel, user_options),
        started: Instant::now(),
        millis_before: state.campaign.duration_millis,
        stop: AtomicBool::new(false),
        state: Mutex::new(state),
    };
    let result = run.run(&folder, &mut progress);
    let state = run.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let is_interrupted =
        result.as_ref().is_err_and(|error| failure::error_code(error) == Code::Interrupted);
    if result.is_ok() || is_interrupted {
        reports::print_and_write(&state.campaign, args.format, &folder, &mut progress)?;
    }
    result.map(|()| state.campaign.exit_code())
}

/// Opens the campaign of this kernel, this guest-init and these options.
fn open_store<'a>(
    args: &CampaignArgs,
    cache: &'a Cache,
    image: &KernelImage,
    request: &Request,
    progress: &mut Progress,
) -> anyhow::Result<CampaignStore<'a>> {
    let init = guest::guest_init(request.arch, progress)?;
    let id = kernel::image_id(&image.kernel);
    let shard = args.shard.map_or(String::new(), |s| format!("{} {}", s.number, s.count));
    let options = format!("{:?} {}", args.vm.backend, args.vm.identity());
    let identity = [id.as_bytes(), &init, options.as_bytes(), shard.as_bytes()];
    CampaignStore::open(cache, &identity, progress)
}

/// The start of a run in one line.
fn description(campaign: &Campaign, hours: Duration) -> String {
    let minutes = hours.as_secs().div_ceil(60);
    let total = campaign.total();
    let before = match campaign.runs {
        1 => String::new(),
        _ => format!(", after {} walks and {} finds", total.walks, campaign.finds.len()),
    };
    format!("seed {}, {minutes} minutes{before}", campaign.seed)
}

/// One run of a campaign.
struct CampaignRun<'a> {
    args: &'a CampaignArgs,
    image: &'a KernelImage,
    request: &'a Request,
    machine: &'a dyn Machine,
    store: &'a CampaignStore<'a>,
    rerun: RerunCommand,
    started: Instant,
    /// Milliseconds that earlier runs took.
    millis_before: u64,
    /// Whether the workers are to end.
    stop: AtomicBool,
    state: Mutex<CampaignState>,
}

impl CampaignRun<'_> {
    /// Runs batches until the time is over, a signal comes, or an error.
    fn run(&self, folder: &RunFolder, progress: &mut Progress) -> anyhow::Result<()> {
        let workers = capacity::max_vms(&self.args.vm);
        let progress = Mutex::new(progress);
        let work = |number: usize| -> anyhow::Result<()> {
            while !self.is_over() {
                let result = self.run_batch(&folder.recreate_subfolder(&number.to_string())?);
                match result {
                    Ok(counts) => lock(&progress).print("batch", &counts),
                    Err(error) => {
                        self.stop.store(true, Ordering::SeqCst);
                        return Err(error);
                    }
                }
            }
            Ok(())
        };
        let results: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> =
                (1..=workers).map(|number| scope.spawn(move || work(number))).collect();
            let panicked = || Failure::machine("a worker of the campaign panicked");
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
                .collect()
        });
        results.into_iter().collect::<anyhow::Result<()>>()?;
        if interrupt::is_pending() { Err(Failure::interrupted()) } else { Ok(()) }
    }

    /// Whether no further batch is to begin.
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
            || interrupt::is_pending()
            || self.started.elapsed() >= self.args.hours
    }

    /// Runs one batch in one VM, and saves what came. Returns the counts in words.
    fn run_batch(&self, folder: &RunFolder) -> anyhow::Result<String> {
        let NextCases { batch: number, selection, timeout, are_walks } = self.next_cases()?;
        let records_code = are_walks && !self.image.instrumented_files.is_empty();
        let recorder = records_code.then(|| Arc::new(Recorder::default()));
        let verdict = self.judge(&selection, timeout, recorder.clone(), folder)?;
        if let Some(reason) = reason_without_results(&verdict) {
            let message = format!("{}: no campaign is possible: {reason}", self.request.reference);
            return Err(Failure { code: Code::Unjudged, message }.into());
        }
        let mut state = lock(&self.state);
        if let Some(number) = number {
            state.finish_batch(number);
        }
        state.campaign.kernel.release.clone_from(&verdict.kernel.release);
        state.campaign.duration_millis = self.millis_so_far();
        state.campaign.add(&verdict.cases);
        let mut coverage = String::new();
        if let Some(recorder) = recorder {
            for (id, case) in recorder.take_behaviour().cases {
                state.corpus.add(&id, walk::reached_code(&case.observations));
            }
            let reached = state.corpus.coverage(&self.image.instrumented_files);
            coverage = format!("{} blocks of code, {} walks kept, ", reached.total(), reached.kept);
            state.campaign.coverage = Some(reached);
        }
        self.save(&mut state)?;
        let (total, finds) = (state.campaign.total(), state.campaign.finds.len());
        Ok(format!(
            "{} walks, {} products of points, {coverage}{finds} finds, {} minutes",
            total.walks,
            total.products,
            state.campaign.duration_millis / 60_000
        ))
    }

    /// Begins the next cases: kept walks that are due for a replay, or else a batch.
    fn next_cases(&self) -> anyhow::Result<NextCases> {
        let mut state = lock(&self.state);
        let replays = state.corpus.take_replays(MAX_REPLAYS);
        if !replays.is_empty() {
            return Ok(NextCases::walks(None, &replays));
        }
        let number = state.begin_batch(self.args.shard);
        self.save(&mut state)?;
        Ok(match state.batch(number, self.args.shard) {
            Batch::Walks(seeds) => NextCases::walks(Some(number), &state.corpus.walks(seeds)),
            Batch::Points(seed) => NextCases {
                batch: Some(number),
                selection: selection::parse_selection(&format!("grid/random-{seed}"))?,
                timeout: POINTS_TIMEOUT,
                are_walks: false,
            },
        })
    }

    fn judge(
        &self,
        selection: &Selection,
        timeout: Duration,
        recorder: Option<Arc<Recorder>>,
        folder: &RunFolder,
    ) -> anyhow::Result<Verdict> {
        let options = JudgeOptions {
            vm: self.args.vm.clone(),
            isolate_cases: false,
            strict: false,
            runs_per_case: 1,
            timeout,
            // The VMs of other workers run at the same time.
            max_parallel_vms: 1,
            rerun: self.rerun.clone(),
            recorder,
            compared_with: kernel::ComparedWith::Nothing,
            trace_marked_operations: false,
        };
        let (image, request, machine) = (self.image, self.request, self.machine);
        let progress = &mut Progress::silent();
        kernel::judge_image(image, request, machine, &options, selection, folder, progress)
    }

    /// Milliseconds that all runs took.
    fn millis_so_far(&self) -> u64 {
        let own = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis_before.saturating_add(own)
    }

    fn save(&self, state: &mut CampaignState) -> anyhow::Result<()> {
        state.campaign.duration_millis = self.millis_so_far();
        self.store.write(state)
    }
}

/// The cases of one VM.
struct NextCases {
    /// The number of the batch; `None` for replays.
    batch: Option<u64>,
    selection: Selection,
    /// Time without progress after which a boot is a hang.
    timeout: Duration,
    /// Whether the cases are walks.
    are_walks: bool,
}

impl NextCases {
    fn walks(batch: Option<u64>, ids: &[String]) -> NextCases {
        let selection = selection::walks(ids);
        NextCases { batch, selection, timeout: WALKS_TIMEOUT, are_walks: true }
    }
}

/// Locks a value. A worker that panicked has not left it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason why a batch has no results, if there is one.
fn reason_without_results(verdict: &Verdict) -> Option<String> {
    let all_absent = verdict.cases.iter().all(|case| case.outcome == Outcome::Absent);
    kernel::reason_without_results(verdict)
        .or_else(|| all_absent.then(|| "it has no dispatch".to_owned()))
}
