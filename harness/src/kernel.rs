// SPDX-License-Identifier: Apache-2.0 OR MIT

//! From what a person typed to a verdict, without a word of how it is shown.

use crate::cli::{self, BuildArgs, Given, Subject, VmArgs};
use crate::expectations::Expectations;
use crate::failure::{self, Code, Failure, Interrupted};
use crate::judge::{self, CaseRunner, Place};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::output::rerun::Rerun;
use crate::selection::Selection;
use crate::session::cases::Patience;
use crate::{guest, running, setup};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use sudbox_images::{Cache, Ctx, KernelImage, Request, Toolchain};
use sudbox_protocol::Arch;
use sudbox_report::Verdict;
use sudbox_vmm::machine::{Discovery, Machine, VmSpec};

/// How a kernel is judged.
#[derive(Clone, Debug)]
pub(crate) struct JudgeOptions {
    pub(crate) vm: VmArgs,
    /// Every case gets a VM of its own.
    pub(crate) isolate: bool,
    /// `fixed` and `unmet` count as failures.
    pub(crate) strict: bool,
    /// How often every case is run.
    pub(crate) repeat: u32,
    /// Without progress for so long a boot is a hang; a case has a sixth of it.
    pub(crate) timeout: Duration,
    /// Most VMs at a time.
    pub(crate) side_by_side: usize,
    pub(crate) rerun: Rerun,
}

/// Says that a file of the run could not be written, which changes nothing in its result.
fn leave<T>(written: anyhow::Result<T>, progress: &mut Progress) {
    if let Err(error) = written {
        progress.say("note", &format!("{error:#}"));
    }
}

/// The time in UTC, as in `2026-11-29T19:43:58Z`.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// A name that is the same for equal images: in the cache, which is by content, the name of the entry;
/// elsewhere path, size, and time of the last change.
fn identity(kernel: &Path) -> String {
    let entry = kernel.parent().and_then(|entry| Some((entry.parent()?, entry.file_name()?)));
    if let Some((images, entry)) = entry
        && images.ends_with("images")
    {
        return format!("cache {}", entry.display());
    }
    let metadata = std::fs::metadata(kernel).ok();
    let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let changed = changed.map(|time| humantime::format_rfc3339_nanos(time).to_string());
    let size = metadata.map_or(0, |metadata| metadata.len());
    format!("{} {size} {}", kernel.display(), changed.unwrap_or_default())
}

/// The configuration that was named for a kernel of which none is known.
fn given_config(request: &Request) -> anyhow::Result<Option<String>> {
    let Some(path) = request.fragments.last() else { return Ok(None) };
    let bad = |why: &str| Failure::usage(format!("--config {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| bad(&error.to_string()))?;
    if !text.lines().any(|line| line.starts_with("CONFIG_") && line.ends_with("=y")) {
        return Err(bad("this is not a kernel's .config: no line is CONFIG_...=y"));
    }
    Ok(Some(text))
}

impl JudgeOptions {
    fn runner<'a>(&self, place: Place<'a>, timeout: Duration) -> CaseRunner<'a> {
        CaseRunner {
            place,
            vmlinux: None,
            patience: Patience { boot: timeout, case: timeout / 3 },
            case_deadline: timeout / 6,
            repeat: self.repeat,
            isolate: self.isolate,
            side_by_side: self.side_by_side,
            arguments: judge::boot_arguments(&self.vm),
            show_console: self.vm.console,
            rerun: self.rerun.clone(),
        }
    }
}

/// Refuses a FIFO, socket or device, which may never reach an end.
///
/// # Errors
/// If `reference` is the path of one.
fn refuse_special_file(reference: &str) -> anyhow::Result<()> {
    match std::fs::metadata(cli::path(reference)) {
        Ok(file) if !file.is_file() && !file.is_dir() => Err(Failure::usage(format!(
            "{reference} is not a regular file: a kernel is a source tree or an image"
        ))),
        _ => Ok(()),
    }
}

/// The request of the command line.
///
/// # Errors
/// If `reference` is a special file, if the architecture is unknown, or if an option about building
/// was given for a kernel that is built.
pub(crate) fn request(
    reference: &str,
    build: &BuildArgs,
    given: &Given,
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
        linux: build.source.linux.as_deref().map(cli::path),
        fragments: build.source.config.iter().map(|text| cli::path(text)).collect(),
        toolchain: Toolchain {
            cc: toolchain.cc,
            llvm: toolchain.llvm,
            cross_compile: toolchain.cross_compile,
            kcflags: toolchain.kcflags,
            jobs: toolchain.jobs,
        },
        patches: Vec::new(),
    };
    // A configuration says which features the kernel should offer.
    if let Some(option) = given.first_about(Subject::Build, &["arch", "config"])
        && reference != running::NAME
        && sudbox_images::is_prebuilt(&request)?
    {
        return Err(Failure::usage(format!(
            "{option} is about building a kernel, and {reference} is built"
        )));
    }
    Ok(request)
}

/// The same with these patches for a copy of its source.
pub(crate) fn patched(request: Request, patches: &[String]) -> Request {
    let patches = patches.iter().map(|text| cli::path(text)).collect();
    Request { patches, ..request }
}

/// The kernel, built if need be with tools installed if need be.
pub(crate) fn find(
    cache: &Cache,
    request: &Request,
    progress: &mut Progress,
) -> anyhow::Result<KernelImage> {
    let plan = sudbox_images::plan(&mut Ctx::new(cache, progress), request)?;
    if !plan.tools.is_empty() {
        setup::install(&plan.tools, progress)?;
    }
    Ok(plan.execute(&mut Ctx::new(cache, progress))?)
}

/// How the kernel finds its devices, which decides about the machine.
pub(crate) fn discovery(image: &KernelImage) -> Discovery {
    if image.acpi { Discovery::Acpi } else { Discovery::CommandLine }
}

/// A VM for this kernel with this initramfs and these boot arguments.
pub(crate) fn vm_spec(
    image: &KernelImage,
    vm: &VmArgs,
    initramfs: PathBuf,
    cmdline: String,
) -> VmSpec {
    VmSpec {
        kernel: image.kernel.clone(),
        initramfs,
        discovery: discovery(image),
        cmdline,
        cpus: vm.cpus,
        memory_mib: vm.memory,
        cpu_model: vm.cpu_model.clone(),
        cpu_vendor: None,
        port: sudbox_protocol::PORT,
        gdb: vm.gdb,
        snapshot: false,
    }
}

/// Runs the selected cases, as far as its architecture has them, on a kernel that was found, in VMs of
/// this machine. Its configuration,
/// build log and console are kept in the folder.
///
/// # Errors
/// When this machine is at fault, or a signal came.
pub(crate) fn judge_image(
    image: &KernelImage,
    request: &Request,
    machine: &dyn Machine,
    options: &JudgeOptions,
    selection: &Selection,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<Verdict> {
    let text = |path: &Option<PathBuf>| {
        path.as_deref().and_then(|path| std::fs::read_to_string(path).ok())
    };
    let config = match text(&image.config) {
        Some(config) => Some(config),
        None => given_config(request)?,
    };
    let mut expectations = Expectations::new(
        request.arch,
        image.release.as_deref(),
        config.as_deref(),
        text(&image.uapi),
    );
    let mut verdict = Verdict {
        sudbox: env!("CARGO_PKG_VERSION").to_owned(),
        date: now(),
        options: options.rerun.options().to_owned(),
        kernel: sudbox_report::Kernel {
            reference: request.reference.clone(),
            release: image.release.clone().unwrap_or_default(),
            arch: request.arch.name().to_owned(),
            // Whoever built an image chose its configuration.
            flavour: match sudbox_images::is_prebuilt(request) {
                Ok(true) => String::new(),
                _ => request.flavour.clone(),
            },
            source: image.source.clone(),
            stands_in: image.stands_in.clone(),
        },
        machine: machine.describe(discovery(image)),
        image: identity(&image.kernel),
        strict: options.strict,
        boot_selected: selection.boot,
        ..Verdict::default()
    };
    if let Some(config) = &config {
        leave(folder.write("config", config), progress);
    }
    if let Some(log) = &image.build_log {
        leave(folder.keep("build.log", log), progress);
    }
    // The report gives the reason for this machine.
    let machine_and_reason = machine.describe(discovery(image));
    progress.say("machine", machine_and_reason.split(": ").next().unwrap_or_default());

    // gdb may stop the guest for as long as a person thinks.
    let timeout = if options.vm.gdb { Duration::from_secs(1 << 20) } else { options.timeout };
    let init = guest::of(request.arch, progress)?;
    let initramfs = folder.write("initramfs.cpio", guest::initramfs(&init, &image.modules)?)?;
    let spec =
        vm_spec(image, &options.vm, initramfs, options.vm.append.clone().unwrap_or_default());
    let mut runner = options.runner(Place::Vm { machine, spec }, timeout);
    runner.vmlinux.clone_from(&image.vmlinux);
    let selection = selection.on(request.arch)?;
    let mut console_log = String::new();
    let judged =
        runner.judge(&selection, &mut expectations, &mut verdict, &mut console_log, progress);
    leave(folder.write("console.log", &console_log), progress);
    let planned = runner.planned(&selection, &expectations);
    with_partial_verdict(judged, verdict, planned)
}

/// The verdict; after an interrupt, an error that carries the verdict on the cases that were run.
fn with_partial_verdict(
    judged: anyhow::Result<()>,
    mut verdict: Verdict,
    planned: usize,
) -> anyhow::Result<Verdict> {
    match judged {
        Ok(()) => Ok(verdict),
        Err(error) if failure::code(&error) == Code::Interrupted && !verdict.cases.is_empty() => {
            let run = verdict.cases.len();
            verdict.unjudged = Some(format!("interrupted after {run} of {planned} cases"));
            Err(Interrupted(Box::new(verdict)).into())
        }
        Err(error) => Err(error),
    }
}

/// Runs the selected cases on the kernel that is running here.
///
/// # Errors
/// When this machine is at fault, or a signal came.
pub(crate) fn judge_running(
    request: &Request,
    options: &JudgeOptions,
    selection: &Selection,
    folder: &RunFolder,
    progress: &mut Progress,
) -> anyhow::Result<Verdict> {
    let release = running::release();
    let config = sudbox_images::config_of(&release);
    let mut expectations = Expectations::new(request.arch, Some(&release), config.as_deref(), None);
    let mut verdict = Verdict {
        sudbox: env!("CARGO_PKG_VERSION").to_owned(),
        date: now(),
        options: options.rerun.options().to_owned(),
        kernel: sudbox_report::Kernel {
            reference: request.reference.clone(),
            release,
            arch: request.arch.name().to_owned(),
            source: "the kernel that is running here".to_owned(),
            ..Default::default()
        },
        machine: "this one, without a VM, as an ordinary user".to_owned(),
        image: running::build(),
        strict: options.strict,
        boot_selected: selection.boot,
        ..Verdict::default()
    };
    if let Some(config) = &config {
        leave(folder.write("config", config), progress);
    }
    let runner = options.runner(Place::Running, options.timeout);
    let mut console_log = String::new();
    let judged =
        runner.judge(selection, &mut expectations, &mut verdict, &mut console_log, progress);
    leave(folder.write("console.log", &console_log), progress);
    let planned = runner.planned(selection, &expectations);
    with_partial_verdict(judged, verdict, planned)
}
