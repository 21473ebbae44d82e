// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox record`: records the behaviour of kernels, for verdicts on other kernels.

use crate::cli::{RecordArgs, UserOptions};
use crate::failure::Failure;
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::recordings::{self, RecordJob, Recording, RecordingFolder};
use crate::version::Version;
use crate::{backend, guest, kernel, running, selection};
use sudbox_images::Cache;

/// Records the kernels and adds the recordings to a folder. A recording replaces another one of the
/// same series, flavour and layout of the processor's state. Returns the exit code.
pub(crate) fn record(args: &RecordArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    // make passes all kernels in one word.
    let kernels: Vec<&str> = args.kernels.iter().flat_map(|word| word.split_whitespace()).collect();
    if kernels.is_empty() || kernels.contains(&running::REFERENCE) {
        return Err(Failure::usage(
            "a kernel is recorded in a VM: name kernels such as 6.12, not `running`",
        ));
    }
    if args.vm.gdb || args.vm.append.is_some() {
        return Err(Failure::usage(
            "--gdb and --append do not apply: a recording is of a kernel as `run` boots it",
        ));
    }
    let mut progress = Progress::new();
    let arch = kernel::new_request(kernels[0], &args.build, user_options)?.arch;
    let mut selection = selection::parse_selection("")?.for_arch(arch)?;
    selection.cases.retain(|case| recordings::is_recorded(case));
    let machine = backend::prepare_machine(&args.vm, arch, &mut progress)?;
    let cache = Cache::open()?;
    let (folder, guest) = match &args.folder {
        Some(path) => (RecordingFolder::new(path, arch), None),
        None => {
            let init = guest::guest_init(arch, &mut progress)?;
            (recordings::own_folder(&cache, arch), Some(sudbox_images::digest(&[&init])))
        }
    };
    // No other process changes the recordings in the cache until this run has written its own.
    let _lock = match args.folder {
        Some(_) => None,
        None => Some(recordings::lock_own_folder(&cache, arch, &mut progress)?),
    };
    let run_folder = RunFolder::create(&cache)?;
    let job = RecordJob {
        machine: &*machine,
        cache: &cache,
        vm: &args.vm,
        user_options,
        selection: &selection,
    };
    // Unreadable recordings are an error in `--folder`, and are replaced in the cache.
    let mut recordings = match folder.read(guest.as_deref()) {
        Err(error) if args.folder.is_some() => return Err(error),
        result => result.unwrap_or_default(),
    };
    for name in kernels {
        let request = kernel::new_request(name, &args.build, user_options)?;
        let image = kernel::find_or_build(&cache, &request, &mut progress)?;
        let behaviour = job.behaviour(name, &image, &request, &run_folder, &mut progress)?;
        let recording = Recording::of_behaviour(&request.flavour, behaviour);
        let identity = |recording: &Recording| {
            let series = Version::parse(&recording.release).map(|version| (version.0, version.1));
            (recording.flavour.clone(), series, recording.floating_state_layout.clone())
        };
        recordings.retain(|other| identity(other) != identity(&recording));
        progress.print(
            "record",
            &format!("{} cases of {}", recording.digests.len(), recording.release),
        );
        recordings.push(recording);
        recordings.sort_by_key(identity);
    }
    let cases = selection.cases.iter().map(|case| case.id.to_owned()).collect();
    folder.write(&recordings, cases, guest.as_deref())?;
    Ok(0)
}
