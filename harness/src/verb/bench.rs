// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox bench`: measures the cost of dispatch on a kernel, or compares two kernels.

use crate::cli::{BenchArgs, CostUnit, UserOptions};
use crate::failure::{Code, Failure};
use crate::kernel::{self, JudgeOptions};
use crate::measure::{BENCHMARK_TIMEOUT, MeasuringMachine, costs_of, select_benchmarks, time_unit};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::running;
use crate::selection::Selection;
use sudbox_images::{Cache, KernelImage, Request};
use sudbox_report::costs::comparison::{
    BOOTS_TO_COUNT, BOOTS_TO_TIME, Comparison, Finding, MAX_BOOTS_TO_COUNT,
};
use sudbox_report::costs::{Costs, Unit};
use sudbox_report::{Form, Report as _};
use sudbox_vmm::processor;

/// Runs the benchmarks. Returns the exit code.
pub(crate) fn bench(args: &BenchArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let selection = select_benchmarks(args.only.as_deref().unwrap_or_default())?;
    if args.vm.gdb {
        return Err(Failure::usage(
            "--gdb stops the guest and spoils the times: use it with `sudbox run`",
        ));
    }
    let kernel = args.kernel.as_deref().unwrap_or_default();
    match &args.compare {
        Some(first_kernel) => compare(args, user_options, [first_kernel, kernel], &selection),
        None if kernel == running::REFERENCE => measure_running(args, user_options, &selection),
        None => measure(args, user_options, &selection),
    }
}

/// Measures one kernel in a VM.
fn measure(
    args: &BenchArgs,
    user_options: &UserOptions,
    selection: &Selection,
) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let kernel = args.kernel.as_deref().unwrap_or_default();
    let request = kernel::with_patches(
        kernel::new_request(kernel, &args.build, user_options)?,
        &args.patches,
    );
    let machine = MeasuringMachine::choose(args.by, &args.vm, request.arch, &mut progress)?;
    let cache = Cache::open()?;
    let image = kernel::find_or_build(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(&cache)?;
    let job = MeasureJob { machine: &machine, args, user_options, selection };
    let costs = job.boot_and_measure(&image, &request, &folder, &mut progress)?;
    print_costs(&costs, args.format, &folder, &mut progress)
}

/// Measures the host's kernel.
fn measure_running(
    args: &BenchArgs,
    user_options: &UserOptions,
    selection: &Selection,
) -> anyhow::Result<u8> {
    if args.by == Some(CostUnit::Instructions) {
        return Err(Failure::usage(
            "instructions are counted in QEMU's emulation, and the running kernel is not in it",
        ));
    }
    let mut progress = Progress::new();
    let request = kernel::new_request(running::REFERENCE, &args.build, user_options)?;
    running::refuse_options(user_options, request.arch)?;
    let folder = RunFolder::create(&Cache::open()?)?;
    let options = judge_options(running::REFERENCE, args, user_options);
    let verdict = kernel::judge_running(&request, &options, selection, &folder, &mut progress)?;
    reports::write_forms(&verdict, &folder)?;
    print_costs(
        &costs_of(&verdict, time_unit(processor::is_emulated()))?,
        args.format,
        &folder,
        &mut progress,
    )
}

/// Measures two kernels in turn, and prints which differences are real.
fn compare(
    args: &BenchArgs,
    user_options: &UserOptions,
    [first, second]: [&str; 2],
    selection: &Selection,
) -> anyhow::Result<u8> {
    let form_name = args.format.name;
    let form = Comparison::form(form_name).ok_or_else(|| {
        let names: Vec<&str> = Comparison::FORMS.iter().map(|form| form.name).collect();
        Failure::usage(format!(
            "--format {form_name} shows one kernel: --compare takes {}",
            names.join(" and ")
        ))
    })?;
    if [first, second].iter().any(|kernel| **kernel == *running::REFERENCE) {
        return Err(Failure::usage(
            "the running kernel is not in a VM, so its times cannot be compared with those of another",
        ));
    }
    let mut progress = Progress::new();
    let requests = [
        kernel::new_request(first, &args.build, user_options)?,
        kernel::with_patches(
            kernel::new_request(second, &args.build, user_options)?,
            &args.patches,
        ),
    ];
    let machine = MeasuringMachine::choose(args.by, &args.vm, requests[0].arch, &mut progress)?;
    let cache = Cache::open()?;
    let mut images = Vec::new();
    for request in &requests {
        images.push(kernel::find_or_build(&cache, request, &mut progress)?);
    }
    let folder = RunFolder::create(&cache)?;
    let job = MeasureJob { machine: &machine, args, user_options, selection };
    let (min_boots, max_boots) = boots_per_kernel(machine.unit);
    let mut costs: [Vec<Costs>; 2] = [Vec::new(), Vec::new()];
    let mut boot = 0;
    let comparison = loop {
        boot += 1;
        for (index, (image, request)) in images.iter().zip(&requests).enumerate() {
            progress
                .print("boot", &format!("{boot} of {}, kernel {}", min_boots.max(boot), index + 1));
            let folder = folder.create_subfolder(&format!("{boot}-{}", index + 1))?;
            costs[index].push(job.boot_and_measure(image, request, &folder, &mut progress)?);
        }
        let comparison = Comparison::from_boots(&costs[0], &costs[1])
            .ok_or_else(|| Failure::machine("no kernel was booted"))?;
        if boot == max_boots || boot >= min_boots && !comparison.has_finding(Finding::Unsteady) {
            break comparison;
        }
    };
    reports::print_and_write(&comparison, form, &folder, &mut progress)?;
    Ok(match () {
        () if comparison.has_finding(Finding::Slower)
            || comparison.failed_names().next().is_some() =>
        {
            1
        }
        () if comparison.has_finding(Finding::Unsteady) => Code::Unjudged as u8,
        () => 0,
    })
}

/// Number of boots of each kernel for a comparison, and the maximum number if the results of the
/// boots disagree.
fn boots_per_kernel(unit: Unit) -> (usize, usize) {
    match unit {
        Unit::Instructions { .. } => (BOOTS_TO_COUNT, MAX_BOOTS_TO_COUNT),
        Unit::Nanoseconds | Unit::Ratio => (BOOTS_TO_TIME, BOOTS_TO_TIME),
    }
}

fn judge_options(kernel: &str, args: &BenchArgs, user_options: &UserOptions) -> JudgeOptions {
    JudgeOptions {
        vm: args.vm.clone(),
        isolate_cases: false,
        strict: false,
        runs_per_case: 1,
        timeout: BENCHMARK_TIMEOUT,
        // Other VMs would disturb the measurement.
        max_parallel_vms: 1,
        rerun: RerunCommand::new(RerunVerb::Bench, kernel, user_options),
        trace_marked_operations: true,
        recorder: None,
        compared_with: kernel::ComparedWith::Nothing,
    }
}

/// The benchmarks to run and the machine that runs them.
struct MeasureJob<'a> {
    machine: &'a MeasuringMachine,
    args: &'a BenchArgs,
    user_options: &'a UserOptions,
    selection: &'a Selection,
}

impl MeasureJob<'_> {
    /// Boots a kernel once and measures it.
    fn boot_and_measure(
        &self,
        image: &KernelImage,
        request: &Request,
        folder: &RunFolder,
        progress: &mut Progress,
    ) -> anyhow::Result<Costs> {
        let options = judge_options(&request.reference, self.args, self.user_options);
        let machine = &*self.machine.machine;
        let selection = self.selection;
        let verdict =
            kernel::judge_image(image, request, machine, &options, selection, folder, progress)?;
        // Only this report has the time of each batch.
        reports::write_forms(&verdict, folder)?;
        costs_of(&verdict, self.machine.unit)
    }
}

/// Prints the costs. Returns the exit code.
fn print_costs(
    costs: &Costs,
    format: &Form<Costs>,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<u8> {
    reports::print_and_write(costs, format, folder, progress)?;
    let has_failure = costs.missing.iter().any(|cost| cost.outcome.is_failure());
    Ok(u8::from(has_failure))
}
