// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox diff`: records the behaviour of two kernels and prints the differences.

use crate::behaviour::{self, Behaviour, BehaviourStore, Recorder};
use crate::cli::{DiffArgs, GivenOptions};
use crate::failure::{Code, Failure};
use crate::kernel::{self, JudgeOptions};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::selection::{self, BOOT_CASE, Selection};
use crate::{backend, capacity, guest, running};
use std::sync::Arc;
use std::time::Duration;
use sudbox_images::{Cache, KernelImage, Request};
use sudbox_report::{Outcome, Verdict};
use sudbox_vmm::machine::Machine;

/// Time without progress after which a boot is a hang; the deadline of a case is a sixth of it. It
/// is twice the default of `run`, because recording takes longer.
const RECORDING_TIMEOUT: Duration = Duration::from_secs(120);

/// Compares the behaviour of two kernels. Returns the exit code.
pub(crate) fn diff(args: &DiffArgs, given: &GivenOptions) -> anyhow::Result<u8> {
    let [first_name, second_name] = args.pair().ok_or_else(|| {
        Failure::usage("two kernels are compared: sudbox diff 6.12 7.3 (KERNELS=\"6.12 7.3\")")
    })?;
    if [first_name, second_name].contains(&running::REFERENCE) {
        return Err(Failure::usage(
            "the running kernel is not in a VM, so its behaviour cannot be compared with that of another",
        ));
    }
    if args.vm.gdb {
        return Err(Failure::usage(
            "--gdb stops the guest, and both kernels are booted twice: use it with `sudbox run`",
        ));
    }
    let mut progress = Progress::new();
    let requests = [
        kernel::new_request(first_name, &args.build, given)?,
        kernel::with_patches(kernel::new_request(second_name, &args.build, given)?, &args.patches),
    ];
    let arch = requests[0].arch;
    let mut selection = selection::parse_selection(args.cases.as_deref().unwrap_or_default())?;
    // These cases run only on kernels without dispatch, which have nothing else to compare.
    selection.cases.retain(|case| !case.checks_absence);
    let selection = selection.for_arch(arch)?;
    if selection.cases.is_empty() {
        return Err(Failure::usage("no case is left that records anything"));
    }
    let machine = backend::prepare_machine(&args.vm, arch, &mut progress)?;
    let cache = Cache::open()?;
    let images = [
        kernel::find_or_build(&cache, &requests[0], &mut progress)?,
        kernel::find_or_build(&cache, &requests[1], &mut progress)?,
    ];
    let folder = RunFolder::create(&cache)?;
    let job = RecordJob { machine: &*machine, cache: &cache, args, given, selection: &selection };
    let mut behaviours = Vec::new();
    for (index, (image, request)) in images.iter().zip(&requests).enumerate() {
        behaviours.push(job.behaviour(index + 1, image, request, &folder, &mut progress)?);
    }
    let [first, second] = [&behaviours[0], &behaviours[1]];
    let kernels = [0, 1].map(|index| sudbox_report::Kernel {
        release: behaviours[index].release.clone(),
        ..kernel::kernel_for_report(&images[index], &requests[index])
    });
    let machine = machine.describe(kernel::device_discovery(&images[0]));
    let is_selected = |id: &str| selection.cases.iter().any(|case| case.id == id);
    let diff = behaviour::diff_of_behaviours([first, second], kernels, machine, is_selected, arch);
    reports::print_and_write(&diff, args.format, &folder, &mut progress)?;
    Ok(diff.exit_code())
}

/// The cases to record and the machine that runs them.
struct RecordJob<'a> {
    machine: &'a dyn Machine,
    cache: &'a Cache,
    args: &'a DiffArgs,
    given: &'a GivenOptions,
    selection: &'a Selection,
}

impl RecordJob<'_> {
    /// The behaviour of a kernel in the selected cases. Cases that are not in the cache are
    /// recorded in two boots. `number`, 1 or 2, names the kernel on stderr and in the folder.
    fn behaviour(
        &self,
        number: usize,
        image: &KernelImage,
        request: &Request,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Behaviour> {
        let init = guest::guest_init(request.arch, progress)?;
        let id = kernel::image_id(&image.kernel);
        let machine = self.machine.describe(kernel::device_discovery(image));
        let machine = machine.split(": ").next().unwrap_or_default();
        let vm = &self.args.vm;
        let options = format!(
            "{} {} {} {}",
            vm.cpus,
            vm.memory,
            vm.cpu_model.as_deref().unwrap_or_default(),
            vm.append.as_deref().unwrap_or_default()
        );
        let identity: [&[u8]; 4] = [id.as_bytes(), &init, machine.as_bytes(), options.as_bytes()];
        let store = BehaviourStore::open(self.cache, &identity, progress)?;
        let mut behaviour = store.read();
        let mut unrecorded = self.selection.clone();
        unrecorded.cases.retain(|case| !behaviour.cases.contains_key(case.id));
        unrecorded.includes_boot = false;
        if unrecorded.cases.is_empty() {
            return Ok(behaviour);
        }
        let mut boots = Vec::new();
        for boot in 1..=2 {
            let text =
                format!("{} cases of kernel {number}, boot {boot} of 2", unrecorded.cases.len());
            progress.print("record", &text);
            let folder = folder.create_subfolder(&format!("{number}-{boot}"))?;
            boots.push(self.record_boot(image, request, &unrecorded, &folder, progress)?);
        }
        let (Some(second), Some(first)) = (boots.pop(), boots.pop()) else { return Ok(behaviour) };
        let new_behaviour = Behaviour::common_to_both(first, second);
        behaviour.release = new_behaviour.release;
        behaviour.features = new_behaviour.features;
        behaviour.cases.extend(new_behaviour.cases);
        store.write(&behaviour)?;
        Ok(behaviour)
    }

    /// Records cases in one boot.
    fn record_boot(
        &self,
        image: &KernelImage,
        request: &Request,
        selection: &Selection,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Behaviour> {
        let recorder = Arc::new(Recorder::default());
        let options = JudgeOptions {
            vm: self.args.vm.clone(),
            isolate_cases: false,
            strict: false,
            runs_per_case: 1,
            timeout: RECORDING_TIMEOUT,
            max_parallel_vms: capacity::max_vms(&self.args.vm),
            rerun: RerunCommand::new(RerunVerb::Run, &request.reference, self.given),
            trace_operations: false,
            recorder: Some(recorder.clone()),
        };
        let verdict = kernel::judge_image(
            image,
            request,
            self.machine,
            &options,
            selection,
            folder,
            progress,
        )?;
        reports::write_forms(&verdict, folder)?;
        match reason_without_behaviour(&verdict) {
            Some(reason) => Err(Failure {
                code: Code::Unjudged,
                message: format!("{}: nothing can be recorded: {reason}", request.reference),
            }
            .into()),
            None => Ok(recorder.take_behaviour()),
        }
    }
}

/// The reason why a kernel has no behaviour that could be compared, if there is one.
fn reason_without_behaviour(verdict: &Verdict) -> Option<String> {
    let is_failed_boot =
        |case: &&sudbox_report::CaseReport| case.id == BOOT_CASE && case.outcome != Outcome::Pass;
    let boot_failure = verdict.cases.iter().find(is_failed_boot).map(|case| case.actual.clone());
    verdict.unjudged_reason.clone().or(boot_failure)
}
