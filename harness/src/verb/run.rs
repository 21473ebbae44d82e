// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox run`: judges one kernel and prints the report.

use crate::cli::{RunArgs, UserOptions};
use crate::failure::{Failure, Incomplete};
use crate::kernel::{self, JudgeOptions};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::{RerunCommand, RerunVerb};
use crate::output::{archive, print, reports, screen};
use crate::selection::{self, BOOT_CASE, BOOT_PROMISE, Selection};
use crate::{backend, capacity, running};
use std::time::Duration;
use sudbox_images::{Arch, Cache};
use sudbox_report::case_list::{CaseList, ListedCase};
use sudbox_report::history::{Entry, History};
use sudbox_report::{Judgement, Report as _, Verdict};

/// Judges the kernel. Returns the exit code.
pub(crate) fn run(args: &RunArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let cases = args.cases.as_deref().unwrap_or_default();
    let kernel = args.kernel.as_deref().unwrap_or_default();
    let mut selection = selection::parse_selection(cases)?;
    if let Some(count) = args.fuzz {
        let seed = args.seed.unwrap_or_else(selection::seed_by_clock);
        progress.print("walk", &format!("--fuzz {count} --seed {seed}"));
        selection::add_walks(&mut selection, cases, count, seed);
    }
    // --config is allowed for a prebuilt kernel, because sudbox derives the expected features from
    // it.
    let options_without_config = user_options.clone().retaining(|name| name != "config");
    let request = kernel::new_request(kernel, &args.build, &options_without_config)?;
    let request = kernel::with_patches(request, &args.patches);
    if args.list {
        print_case_list(&selection, request.arch, args.format.name)?;
        return Ok(0);
    }
    let selection = selection.for_arch(request.arch)?;
    let options = JudgeOptions {
        vm: args.vm.clone(),
        isolate_cases: args.isolate,
        strict: args.strict,
        runs_per_case: args.repeat,
        timeout: Duration::from_secs(args.timeout),
        max_parallel_vms: capacity::max_vms(&args.vm),
        rerun: RerunCommand::new(RerunVerb::Run, kernel, user_options),
        trace_marked_operations: false,
        recorder: None,
        compared_with: kernel::ComparedWith::Neighbours,
    };
    let (verdict, folder) = if kernel == running::REFERENCE {
        running::refuse_options(user_options, request.arch)?;
        if args.isolate {
            return Err(Failure::usage(running::no_vm_message("--isolate")));
        }
        // The boot case is left out. It is refused only if no other case is selected.
        if selection.cases.is_empty() {
            return Err(Failure::usage(format!(
                "{BOOT_CASE}: the running kernel has booted already"
            )));
        }
        let selection = Selection { includes_boot: false, ..selection };
        let folder = RunFolder::create(&Cache::open()?)?;
        let verdict = kernel::judge_running(&request, &options, &selection, &folder, &mut progress);
        (verdict, folder)
    } else {
        // The machine is prepared first, so that a missing backend is reported before a kernel is
        // built.
        let machine = backend::prepare_machine(&args.vm, request.arch, &mut progress)?;
        let cache = Cache::open()?;
        let image = kernel::find_or_build(&cache, &request, &mut progress)?;
        kernel::refuse_inapplicable_config(&image, &request)?;
        let folder = RunFolder::create(&cache)?;
        let verdict = kernel::judge_image(
            &image,
            &request,
            &*machine,
            &options,
            &selection,
            &folder,
            &mut progress,
        );
        (verdict, folder)
    };

    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            if let Some(Incomplete { verdict, .. }) = error.downcast_ref() {
                reports::print_and_write(&**verdict, args.format, &folder, &mut progress)?;
            }
            return Err(error);
        }
    };
    print_flaky_cases(&verdict, &folder, &mut progress);
    reports::print_and_write(&verdict, args.format, &folder, &mut progress)?;
    if let Err(error) = folder.record_outcomes(&verdict) {
        progress.print("note", &format!("{error:#}"));
    }
    Ok(Judgement::from_verdict(&verdict).exit_code())
}

/// Prints the failed cases that had other outcomes on the same image in earlier runs.
fn print_flaky_cases(verdict: &Verdict, folder: &RunFolder, progress: &mut Progress) {
    let failed_ids: Vec<&str> = verdict
        .cases
        .iter()
        .filter(|case| case.outcome.is_failure())
        .map(|case| case.id.as_str())
        .collect();
    let (false, Some(runs)) = (failed_ids.is_empty(), folder.path().parent()) else { return };
    let mut entries = archive::read_record(runs);
    entries.extend(Entry::from_verdict(verdict));
    for case in History::from_entries(&entries, |id| failed_ids.contains(&id)).cases {
        if let Some(flake) = case.flaky.iter().find(|flake| flake.image_id == verdict.image_id) {
            progress.print("flaky", &format!("{}: {} on this image", case.id, flake.counts()));
        }
    }
}

/// The cases of the selection, for `--list`.
fn case_list(selection: &Selection, arch: Arch) -> CaseList {
    let boot_case = selection.includes_boot.then(|| ListedCase {
        id: BOOT_CASE.to_owned(),
        promise: BOOT_PROMISE.to_owned(),
        ..ListedCase::default()
    });
    let other_cases = selection.cases.iter().map(|case| ListedCase {
        id: case.id.to_owned(),
        promise: case.promise.to_owned(),
        kernel_function: case.kernel_function.to_owned(),
        without_dispatch: case.checks_absence,
        exclusion_reason: case.exclusion_reason(arch).map(str::to_owned),
    });
    CaseList {
        schema: 1,
        arch: arch.name().to_owned(),
        cases: boot_case.into_iter().chain(other_cases).collect(),
    }
}

/// Prints the cases of the selection in the form with this name.
///
/// # Errors
/// If `--list` does not have the form, or stdout cannot be written.
fn print_case_list(selection: &Selection, arch: Arch, form_name: &str) -> anyhow::Result<()> {
    let Some(form) = CaseList::form(form_name) else {
        return Err(Failure::usage(format!(
            "--list has no form {form_name}: it has --format table and --format json"
        )));
    };
    print(&(form.render)(&case_list(selection, arch), screen()))
}
