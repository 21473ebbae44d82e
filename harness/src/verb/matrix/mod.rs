// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox matrix`: judges many kernels and prints one report.

mod scheduler;

use crate::cli::{BuildArgs, MatrixArgs, UserOptions};
use crate::failure::{self, Code, Failure, Incomplete};
use crate::kernel::{self, JudgeOptions};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::{self, RerunCommand, RerunVerb};
use crate::output::{print, reports};
use crate::{backend, capacity, running, selection};
use scheduler::KernelJob;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use sudbox_images::{Arch, Cache, KernelImage};
use sudbox_report::matrix::{self, Cell, CellResult, Matrix, Plan};
use sudbox_vmm::machine::Machine;

/// Judges the kernels. Returns the exit code.
pub(crate) fn matrix(args: &MatrixArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let selection = selection::parse_selection(args.cases.as_deref().unwrap_or_default())?;
    if args.vm.gdb {
        return Err(Failure::usage("--gdb is about one VM, and a matrix has many"));
    }
    let cells = cells(args)?;
    let is_in_shard = |index: usize| {
        args.shard.is_none_or(|shard| matrix::shard_of(index, shard.count) == shard.number)
    };
    let indices: Vec<usize> = (0..cells.len()).filter(|index| is_in_shard(*index)).collect();
    if args.list {
        let listed_cells: Vec<&Cell> = indices.iter().map(|index| &cells[*index]).collect();
        print(&sudbox_report::to_json(&listed_cells))?;
        return Ok(0);
    }
    let plan = Plan {
        sudbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: rerun::matrix_command(user_options),
        strict: args.strict,
        boot_selected: selection.includes_boot,
        cells,
    };

    // Check all arguments before anything is built.
    let mut jobs = Vec::new();
    for index in indices {
        let cell = &plan.cells[index];
        let request =
            kernel::new_request(&cell.kernel, &build_args(args, cell), &UserOptions::default())?;
        sudbox_images::check_request(&request)?;
        jobs.push(KernelJob { index, request });
    }
    let mut machines: Vec<(Arch, Box<dyn Machine>)> = Vec::new();
    for job in &jobs {
        let arch = job.request.arch;
        if !machines.iter().any(|(other, _)| *other == arch) {
            machines.push((arch, backend::prepare_machine(&args.vm, arch, &mut progress)?));
        }
    }
    let cache = Cache::open()?;
    let folder = RunFolder::create(&cache)?;
    let finished_count = AtomicUsize::new(0);
    let find_or_build = |job: &KernelJob| {
        // Fails before the build if no selected case exists on this architecture.
        selection.for_arch(job.request.arch)?;
        let name = plan.cells[job.index].to_string();
        kernel::find_or_build(&cache, &job.request, &mut Progress::labelled(&name))
    };
    let judge = |job: &KernelJob, image: anyhow::Result<KernelImage>| {
        let cell = &plan.cells[job.index];
        let mut progress = Progress::labelled(&cell.to_string());
        let folder = folder.create_subfolder(&folder_name(job.index, cell))?;
        let options = JudgeOptions {
            vm: args.vm.clone(),
            isolate_cases: false,
            strict: args.strict,
            runs_per_case: 1,
            timeout: Duration::from_secs(args.timeout),
            // The VMs of other kernels run at the same time.
            max_parallel_vms: 1,
            rerun: RerunCommand::new(RerunVerb::Run, &cell.kernel, user_options)
                .with_arch_and_flavour(&cell.arch, &cell.flavour),
            trace_marked_operations: false,
            recorder: None,
            compared_with: kernel::ComparedWith::Neighbours,
        };
        let verdict = image.and_then(|image| {
            let (request, progress) = (&job.request, &mut progress);
            let machine = machines.iter().find(|(arch, _)| *arch == request.arch);
            let (_, machine) = machine.expect("every architecture of a job has a machine");
            kernel::judge_image(
                &image, request, &**machine, &options, &selection, &folder, progress,
            )
        });
        let result = match verdict {
            Ok(verdict) => {
                reports::write_forms(&verdict, &folder)?;
                CellResult::Judged(Box::new(verdict))
            }
            Err(error) => failed_cell(&error, &folder)?,
        };
        let count = finished_count.fetch_add(1, Ordering::Relaxed) + 1;
        progress.print("finished", &format!("{count} of {}", jobs.len()));
        Ok(result)
    };
    let results = scheduler::run_jobs(&jobs, capacity::max_vms(&args.vm), find_or_build, judge)?;
    let mut matrix = Matrix {
        shards: args.shard.map(|shard| shard.count),
        results: vec![None; plan.cells.len()],
        plan,
    };
    for (job, result) in jobs.iter().zip(results) {
        matrix.results[job.index] = Some(result);
    }
    reports::print_and_write(&matrix, args.format, &folder, &mut progress)?;
    for (_, result) in matrix.cells_with_results() {
        if let CellResult::Judged(verdict) = result
            && let Err(error) = folder.record_outcomes(verdict)
        {
            progress.print("note", &format!("{error:#}"));
        }
    }
    Ok(matrix.exit_code())
}

/// The cells: every kernel in every flavour on every architecture. Cells of one architecture and
/// flavour are adjacent, so that most neighbours differ only in the kernel.
fn cells(args: &MatrixArgs) -> anyhow::Result<Vec<Cell>> {
    let split_words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let or_default = |words: Vec<String>, default: &str| {
        if words.is_empty() { vec![default.to_owned()] } else { words }
    };
    let kernels = split_words(&args.kernels);
    if kernels.is_empty() {
        return Err(Failure::usage("--kernels names no kernel: give some, as in \"6.1 6.12\""));
    }
    if kernels.iter().any(|kernel| kernel == running::REFERENCE) {
        return Err(Failure::usage(
            "a matrix runs kernels in VMs only: judge the running one with `sudbox run running`",
        ));
    }
    let mut cells = Vec::new();
    for arch in
        or_default(split_words(args.arches.as_deref().unwrap_or_default()), Arch::default().name())
    {
        // An architecture has several names; the cell gets the canonical name.
        let arch = arch.parse::<Arch>().map_err(sudbox_images::Error::from)?.name();
        for flavour in
            or_default(split_words(args.flavours.as_deref().unwrap_or_default()), "default")
        {
            for kernel in &kernels {
                let cell = Cell {
                    kernel: kernel.clone(),
                    arch: arch.to_owned(),
                    flavour: flavour.clone(),
                };
                if !cells.contains(&cell) {
                    cells.push(cell);
                }
            }
        }
    }
    Ok(cells)
}

/// The build options of a cell.
fn build_args(args: &MatrixArgs, cell: &Cell) -> BuildArgs {
    BuildArgs {
        arch: Some(cell.arch.clone()),
        flavour: Some(cell.flavour.clone()),
        source: args.source.clone(),
    }
}

/// The result of a cell without a verdict. Writes the results of the cases that ran into the folder.
///
/// # Errors
/// If the run was interrupted, which ends the matrix, or if a file cannot be written.
fn failed_cell(error: &anyhow::Error, folder: &RunFolder) -> anyhow::Result<CellResult> {
    let code = failure::error_code(error);
    if code == Code::Interrupted {
        return Err(Failure::interrupted());
    }
    if let Some(Incomplete { verdict, .. }) = error.downcast_ref() {
        reports::write_forms(&**verdict, folder)?;
    }
    let image_error = error.downcast_ref::<sudbox_images::Error>();
    let mut reason = format!("{error:#}");
    // A hostile build can make its log unusable, which must not end the matrix.
    if let Some(log) = image_error.and_then(sudbox_images::Error::log)
        && let Err(error) = folder.copy_log_in("build.log", log)
    {
        reason = format!("{reason}; {error:#}");
    }
    Ok(CellResult::Failed { exit_code: code as u8, reason })
}

/// A unique folder name for a cell, valid on any file system.
fn folder_name(index: usize, cell: &Cell) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".-+".contains(c) { c } else { '_' };
    let name = format!("{}-{}-{}", cell.kernel, cell.arch, cell.flavour);
    format!("{:04}-{}", index + 1, name.chars().map(allowed).take(80).collect::<String>())
}
