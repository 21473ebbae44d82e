// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox diff`: records the behaviour of two kernels and prints the differences.

use crate::cli::{DiffArgs, UserOptions};
use crate::failure::Failure;
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::reports;
use crate::recordings::RecordJob;
use crate::{backend, behaviour, kernel, running, selection};
use sudbox_images::Cache;

/// Compares the behaviour of two kernels. Returns the exit code.
pub(crate) fn diff(args: &DiffArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
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
        kernel::new_request(first_name, &args.build, user_options)?,
        kernel::with_patches(
            kernel::new_request(second_name, &args.build, user_options)?,
            &args.patches,
        ),
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
    let job = RecordJob {
        machine: &*machine,
        cache: &cache,
        vm: &args.vm,
        user_options,
        selection: &selection,
    };
    let mut behaviours = Vec::new();
    for (index, (image, request)) in images.iter().zip(&requests).enumerate() {
        let name = format!("kernel {}", index + 1);
        behaviours.push(job.behaviour(&name, image, request, &folder, &mut progress)?);
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
