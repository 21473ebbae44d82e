// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds, builds and judges a kernel: from the arguments to a `Verdict`.

use crate::behaviour::Recorder;
use crate::cli::{self, BuildArgs, OptionSubject, UserOptions, VmArgs};
use crate::expectations::Expectations;
use crate::failure::Failure;
use crate::judge::{self, CaseRunner, Environment};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::RerunCommand;
use crate::recordings::{self, Baseline, RecordingFolder};
use crate::selection::{self, Selection};
use crate::session::cases::Timeouts;
use crate::{guest, running, setup};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use sudbox_images::{Cache, Ctx, KernelImage, Request, Toolchain};
use sudbox_protocol::Arch;
use sudbox_report::{CaseReport, Verdict};
use sudbox_vmm::machine::{DeviceDiscovery, Machine, VmSpec};

/// Options for judging a kernel.
#[derive(Clone, Debug)]
pub(crate) struct JudgeOptions {
    pub(crate) vm: VmArgs,
    /// Run every case in a VM of its own.
    pub(crate) isolate_cases: bool,
    /// Count `fixed` and `unmet` as failures.
    pub(crate) strict: bool,
    /// Number of runs of every case.
    pub(crate) runs_per_case: u32,
    /// Time without progress after which a boot is a hang. The deadline of a case is a sixth of
    /// this time.
    pub(crate) timeout: Duration,
    /// Maximum number of VMs that run at a time.
    pub(crate) max_parallel_vms: usize,
    pub(crate) rerun: RerunCommand,
    /// Collects the observations of the cases; `None` if they are not recorded.
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Trace the operations of benchmarks, on a machine that counts instructions.
    pub(crate) trace_marked_operations: bool,
    pub(crate) compared_with: ComparedWith,
}

/// The recordings with which a kernel's observations are compared.
#[derive(Clone, Debug)]
pub(crate) enum ComparedWith {
    /// The recordings of the nearest releases, with the same architecture and flavour.
    Neighbours,
    /// The given recording.
    Recording(Arc<Baseline>),
    /// No recording.
    Nothing,
}

/// Prints a note if a file of the run could not be written. The result of the run stays valid.
fn print_note_on_failure<T>(result: anyhow::Result<T>, progress: &mut Progress) {
    if let Err(error) = result {
        progress.print("note", &format!("{error:#}"));
    }
}

/// The time in UTC, as in `2026-11-29T19:43:58Z`.
fn utc_timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// A text that identifies a kernel image: for an image in the cache, the name of its entry, which
/// is a hash; for any other image, path, size and modification time.
pub(crate) fn image_id(kernel: &Path) -> String {
    let cache_entry =
        kernel.parent().and_then(|folder| Some((folder.parent()?, folder.file_name()?)));
    if let Some((images_folder, entry_name)) = cache_entry
        && images_folder.ends_with("images")
    {
        return format!("cache {}", entry_name.display());
    }
    let metadata = std::fs::metadata(kernel).ok();
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let modified = modified.map(|time| humantime::format_rfc3339_nanos(time).to_string());
    let size = metadata.map_or(0, |metadata| metadata.len());
    format!("{} {size} {}", kernel.display(), modified.unwrap_or_default())
}

/// The text of the last `--config` file, for a kernel image without a known configuration.
fn config_from_option(request: &Request) -> anyhow::Result<Option<String>> {
    let Some(path) = request.fragments.last() else { return Ok(None) };
    let unusable = |reason: &str| Failure::usage(format!("--config {}: {reason}", path.display()));
    let text = sudbox_images::read_text(path).map_err(|error| unusable(&error.to_string()))?;
    if !text.lines().any(|line| line.starts_with("CONFIG_") && line.ends_with("=y")) {
        return Err(unusable("not a kernel .config: no line is CONFIG_...=y"));
    }
    Ok(Some(text))
}

impl JudgeOptions {
    fn case_runner<'a>(&self, environment: Environment<'a>, timeout: Duration) -> CaseRunner<'a> {
        CaseRunner {
            environment,
            vmlinux: None,
            timeouts: Timeouts { boot: timeout, case: timeout / 3 },
            case_deadline: timeout / 6,
            runs_per_case: self.runs_per_case,
            isolate_cases: self.isolate_cases,
            max_parallel_vms: self.max_parallel_vms,
            boot_arguments: judge::boot_arguments(&self.vm),
            show_console: self.vm.console,
            rerun: self.rerun.clone(),
            recorder: self.recorder.clone(),
            baseline: None,
            #[cfg(test)]
            liars: None,
        }
    }
}

/// Refuses a FIFO, socket or device, because reading it may never end.
///
/// # Errors
/// If `reference` is the path of such a file.
fn refuse_special_file(reference: &str) -> anyhow::Result<()> {
    match std::fs::metadata(cli::expand_path(reference)) {
        Ok(file) if !file.is_file() && !file.is_dir() => Err(Failure::usage(format!(
            "{reference} is not a regular file: a kernel is a source tree or an image"
        ))),
        _ => Ok(()),
    }
}

/// Turns the arguments into a request.
///
/// # Errors
/// If `reference` is a special file, if the architecture is unknown, or if a build option was given
/// for a prebuilt kernel.
pub(crate) fn new_request(
    reference: &str,
    build: &BuildArgs,
    user_options: &UserOptions,
) -> anyhow::Result<Request> {
    let toolchain = build.source.toolchain.clone();
    refuse_special_file(reference)?;
    let request = Request {
        reference: reference.to_owned(),
        arch: match &build.arch {
            Some(arch) => arch.parse::<Arch>().map_err(sudbox_images::Error::from)?,
            None => Arch::default(),
        },
        flavour: build.flavour.clone().unwrap_or_else(|| "default".to_owned()),
        exact: build.source.exact,
        contain: match build.source.contain {
            None | Some(cli::Contain::Auto) => sudbox_images::Contain::Auto,
            Some(cli::Contain::Require) => sudbox_images::Contain::Require,
            Some(cli::Contain::Off) => sudbox_images::Contain::Off,
        },
        linux: build.source.linux.as_deref().map(cli::expand_path),
        fragments: build.source.config.iter().map(|text| cli::expand_path(text)).collect(),
        toolchain: Toolchain {
            cc: toolchain.cc,
            llvm: toolchain.llvm,
            cross_compile: toolchain.cross_compile,
            kcflags: toolchain.kcflags,
            jobs: toolchain.jobs,
        },
        patches: Vec::new(),
    };
    if let Some(option) = user_options.first_with_subject(OptionSubject::Build, &["arch"])
        && reference != running::REFERENCE
        && sudbox_images::is_prebuilt(&request)?
    {
        return Err(Failure::usage(format!(
            "{option} is a build option, and {reference} is a prebuilt kernel"
        )));
    }
    Ok(request)
}

/// Refuses `--config` where it does not apply: for a prebuilt kernel whose configuration is known,
/// and more than one `--config` for any prebuilt kernel.
///
/// # Errors
/// If `--config` was given and does not apply.
pub(crate) fn refuse_inapplicable_config(
    image: &KernelImage,
    request: &Request,
) -> anyhow::Result<()> {
    let kernel = &request.reference;
    match request.fragments.len() {
        1.. if image.is_prebuilt && image.config.is_some() => Err(Failure::usage(format!(
            "--config does not apply: {kernel} is a prebuilt kernel, and its configuration is known"
        ))),
        2.. if image.is_prebuilt => Err(Failure::usage(format!(
            "--config is given more than once: {kernel} is a prebuilt kernel with one configuration"
        ))),
        _ => Ok(()),
    }
}

/// Adds patches to a request. They are applied to a copy of the source.
pub(crate) fn with_patches(request: Request, patches: &[String]) -> Request {
    let patches = patches.iter().map(|text| cli::expand_path(text)).collect();
    Request { patches, ..request }
}

/// Finds the kernel in the cache or builds it. Installs tools that are missing for the build.
pub(crate) fn find_or_build(
    cache: &Cache,
    request: &Request,
    progress: &mut Progress,
) -> anyhow::Result<KernelImage> {
    let plan = sudbox_images::plan(&mut Ctx::new(cache, progress), request)?;
    if !plan.missing_tools.is_empty() {
        setup::install(&plan.missing_tools, progress)?;
    }
    Ok(plan.execute(&mut Ctx::new(cache, progress))?)
}

/// The method by which the kernel discovers its devices.
pub(crate) fn device_discovery(image: &KernelImage) -> DeviceDiscovery {
    if image.needs_acpi { DeviceDiscovery::Acpi } else { DeviceDiscovery::CommandLine }
}

/// The frequency of the kernel's timer interrupt in Hz, if its configuration is known.
fn config_hz(image: &KernelImage) -> Option<u32> {
    let config = std::fs::read_to_string(image.config.as_deref()?).ok()?;
    config.lines().find_map(|line| line.strip_prefix("CONFIG_HZ="))?.parse().ok()
}

/// A VM for this kernel with this initramfs and these boot arguments.
pub(crate) fn vm_spec(
    image: &KernelImage,
    vm: &VmArgs,
    initramfs: PathBuf,
    cmdline: String,
) -> VmSpec {
    VmSpec {
        discovery: device_discovery(image),
        cmdline,
        config_hz: config_hz(image),
        cpus: vm.cpus,
        memory_mib: vm.memory,
        cpu_model: vm.cpu_model.clone(),
        wait_for_gdb: vm.gdb,
        ..VmSpec::new(image.kernel.clone(), initramfs, sudbox_protocol::PORT)
    }
}

/// The kernel as reports describe it.
pub(crate) fn kernel_for_report(image: &KernelImage, request: &Request) -> sudbox_report::Kernel {
    sudbox_report::Kernel {
        reference: request.reference.clone(),
        release: image.release.clone().unwrap_or_default(),
        arch: request.arch.name().to_owned(),
        // sudbox did not configure a prebuilt kernel, so the kernel has no flavour.
        flavour: if image.is_prebuilt { String::new() } else { request.flavour.clone() },
        source: image.source.clone(),
        substitution_note: image.substitution_note.clone(),
    }
}

/// The reason why a verdict has no results of cases: the kernel could not be judged or did not boot.
/// `None` if the verdict has results.
pub(crate) fn reason_without_results(verdict: &Verdict) -> Option<String> {
    let is_failed_boot =
        |case: &&CaseReport| case.id == selection::BOOT_CASE && case.outcome.is_failure();
    let boot_failure = verdict.cases.iter().find(is_failed_boot).map(|case| case.detail.clone());
    verdict.unjudged_reason.clone().or(boot_failure)
}

/// The facts from which the features and bugs of a kernel are predicted. `config` is its
/// configuration.
fn expectations_for(image: &KernelImage, request: &Request, config: Option<&str>) -> Expectations {
    let headers = image.uapi_headers.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
    Expectations::new(request.arch, image.release.as_deref(), config, headers)
}

/// The recordings of kernels with the same architecture and flavour, or the reason why the kernel is
/// compared with none.
///
/// # Errors
/// If the recordings cannot be read.
fn baseline_of_series(
    image: &KernelImage,
    request: &Request,
    vm: &VmArgs,
    init: &[u8],
) -> anyhow::Result<Result<Arc<Baseline>, String>> {
    if image.is_prebuilt {
        return Ok(Err("a prebuilt kernel has no flavour that is recorded".to_owned()));
    }
    if !request.fragments.is_empty() {
        return Ok(Err("--config makes another configuration than the recorded one".to_owned()));
    }
    if vm.append.is_some() {
        return Ok(Err("--append gives other boot arguments than the recorded ones".to_owned()));
    }
    let mut recordings = recordings::shipped_recordings(request.arch)?;
    let user_folder = Cache::open().ok().map(|cache| recordings::own_folder(&cache, request.arch));
    if let Some(user_folder) = user_folder.filter(RecordingFolder::exists) {
        // Unreadable recordings of the user are ignored. `sudbox record` writes them again.
        let guest = sudbox_images::digest(&[init]);
        recordings.extend(user_folder.read(Some(&guest)).unwrap_or_default());
    }
    recordings.retain(|recording| recording.flavour == request.flavour);
    if recordings.is_empty() {
        let (arch, flavour) = (request.arch.name(), &request.flavour);
        return Ok(Err(format!("no kernel of flavour {flavour} is recorded on {arch}")));
    }
    Ok(Ok(Arc::new(Baseline::Series(recordings))))
}

/// Runs the selected cases in VMs with this kernel image. Cases of other architectures are left
/// out. Writes the configuration, build log and console log into the folder.
///
/// # Errors
/// If this machine is at fault, or a signal interrupted the run.
pub(crate) fn judge_image(
    image: &KernelImage,
    request: &Request,
    machine: &dyn Machine,
    options: &JudgeOptions,
    selection: &Selection,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<Verdict> {
    let config = image.config.as_deref().and_then(|path| std::fs::read_to_string(path).ok());
    let config = match config {
        Some(config) => Some(config),
        None => config_from_option(request)?,
    };
    let mut expectations = expectations_for(image, request, config.as_deref());
    let mut verdict = Verdict {
        sudbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: utc_timestamp(),
        options: options.rerun.options().to_owned(),
        kernel: kernel_for_report(image, request),
        machine: machine.describe(device_discovery(image)),
        image_id: image_id(&image.kernel),
        strict: options.strict,
        boot_selected: selection.includes_boot,
        ..Verdict::default()
    };
    if let Some(config) = &config {
        print_note_on_failure(folder.write("config", config), progress);
    }
    if let Some(log) = &image.build_log {
        print_note_on_failure(folder.copy_log_in("build.log", log), progress);
    }
    // Only the machine is printed; the reason for its choice is in the report.
    let machine_and_reason = machine.describe(device_discovery(image));
    progress.print("machine", machine_and_reason.split(": ").next().unwrap_or_default());

    // A user of gdb may stop the guest for any length of time.
    let timeout = if options.vm.gdb { Duration::from_secs(1 << 20) } else { options.timeout };
    let init = guest::guest_init(request.arch, progress)?;
    let initramfs = folder.write("initramfs.cpio", guest::initramfs(&init, &image.modules)?)?;
    let mut spec =
        vm_spec(image, &options.vm, initramfs, options.vm.append.clone().unwrap_or_default());
    spec.trace_marked_operations = options.trace_marked_operations;
    let mut runner = options.case_runner(Environment::Vm { machine, spec }, timeout);
    runner.vmlinux.clone_from(&image.vmlinux);
    runner.baseline = match &options.compared_with {
        ComparedWith::Neighbours => Some(baseline_of_series(image, request, &options.vm, &init)?),
        ComparedWith::Recording(baseline) => Some(Ok(baseline.clone())),
        ComparedWith::Nothing => None,
    };
    let selection = selection.for_arch(request.arch)?;
    let mut console_log = String::new();
    let result =
        runner.judge(&selection, &mut expectations, &mut verdict, &mut console_log, progress);
    print_note_on_failure(folder.write("console.log", &console_log), progress);
    result.map(|()| verdict)
}

/// Runs the selected cases on the host's kernel.
///
/// # Errors
/// If this machine is at fault, or a signal interrupted the run.
pub(crate) fn judge_running(
    request: &Request,
    options: &JudgeOptions,
    selection: &Selection,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<Verdict> {
    let kernel = running::kernel_for_report();
    let config = sudbox_images::config_of(&kernel.release);
    let mut expectations =
        Expectations::new(request.arch, Some(&kernel.release), config.as_deref(), None);
    let mut verdict = Verdict {
        sudbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: utc_timestamp(),
        options: options.rerun.options().to_owned(),
        kernel,
        machine: "this one, without a VM, as an ordinary user".to_owned(),
        image_id: running::release_and_version(),
        strict: options.strict,
        boot_selected: selection.includes_boot,
        ..Verdict::default()
    };
    if let Some(config) = &config {
        print_note_on_failure(folder.write("config", config), progress);
    }
    let runner = options.case_runner(Environment::HostKernel, options.timeout);
    let mut console_log = String::new();
    let result =
        runner.judge(selection, &mut expectations, &mut verdict, &mut console_log, progress);
    print_note_on_failure(folder.write("console.log", &console_log), progress);
    result.map(|()| verdict)
}
