//! `sudbox run`: from what a person typed to a verdict.

use crate::cli::{self, Format, RunArgs};
use crate::conduct::Patience;
use crate::expectations::Expectations;
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::judge::Bench;
use crate::progress::Progress;
use crate::selection::{self, BOOT, BOOT_PROMISE, Selection};
use crate::{guest, setup};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use sudbox_images::{Cache, KernelImage, Request, Toolchain};
use sudbox_report::{Judgement, Options, Verdict, json, junit, ktap, table};
use sudbox_vmm::machine::{self, Machine, VmSpec};
use sudbox_vmm::qemu::Qemu;

/// Runs and returns the exit code.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let selection = selection::select(&args.cases)?;
    if args.list {
        print(&list(&selection))?;
        return Ok(0);
    }
    let request = request(args)?;
    let mut progress = Progress::new();
    // Early: it begins to measure the host's clock, for which there is time until the VM starts.
    let machine = find_machine(&mut progress)?;
    let cache = Cache::open()?;
    let image = find_kernel(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(cache.root())?;

    let text = |path: &Option<PathBuf>| {
        path.as_deref().and_then(|path| std::fs::read_to_string(path).ok())
    };
    let config = text(&image.config);
    let mut expectations =
        Expectations::new(image.release.as_deref(), config.as_deref(), text(&image.uapi));
    let mut verdict = Verdict {
        sudbox: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: sudbox_report::Kernel {
            reference: args.kernel.clone(),
            release: image.release.clone().unwrap_or_default(),
            arch: request.arch.name().to_owned(),
            flavour: request.flavour.clone(),
            source: image.source.clone(),
            stands_in: image.stands_in.clone(),
        },
        machine: machine.describe(),
        ..Verdict::default()
    };
    if let Some(config) = &config {
        folder.write("config", config)?;
    }
    if let Some(log) = &image.build_log {
        folder.keep("build.log", log)?;
    }
    progress.say("kernel", &image.source);
    progress.say("machine", &machine.describe());

    // gdb may stop the guest for as long as a person thinks.
    let timeout = Duration::from_secs(if args.gdb { 1 << 20 } else { args.timeout });
    let mut bench = Bench {
        machine: &machine,
        spec: VmSpec {
            arch: machine::Arch::X86_64,
            kernel: image.kernel.clone(),
            initramfs: folder.write("initramfs.cpio", guest::initramfs())?,
            cmdline: args.append.clone(),
            cpus: args.cpus,
            memory_mib: args.memory,
            cpu_model: cli::given(&args.cpu_model).map(str::to_owned),
            port: sudbox_protocol::PORT,
            gdb: args.gdb,
        },
        vmlinux: image.vmlinux.clone(),
        patience: Patience { boot: timeout, case: timeout / 3 },
        case_deadline: timeout / 6,
        repeat: args.repeat,
        live: args.console,
        rerun: rerun(args),
        console_log: String::new(),
    };
    let judged = bench.judge(&selection, &mut expectations, &mut verdict, &mut progress);
    folder.write("console.log", &bench.console_log)?;
    judged?;

    let plain = Options { colour: false, strict: args.strict, boot_selected: selection.boot };
    folder.write("report.txt", table::render(&verdict, plain))?;
    folder.write("report.json", json::render(&verdict, plain))?;
    folder.write("junit.xml", junit::render(&verdict, plain))?;
    folder.write("report.ktap", ktap::render(&verdict, plain))?;
    let report = match args.format {
        Format::Table => table::render(&verdict, Options { colour: colour(), ..plain }),
        Format::Ktap => ktap::render(&verdict, plain),
        Format::Junit => junit::render(&verdict, plain),
        Format::Json => json::render(&verdict, plain),
    };
    print(&report)?;
    progress.say("kept", &folder.path().display().to_string());
    Ok(Judgement::of(&verdict, args.strict, selection.boot).exit_code())
}

/// Whether the table may use colour: only for a person at a terminal who has not said no
/// (no-color.org).
fn colour() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes the report to stdout; a reader that has gone away is not an error of this run.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::machine(format!("cannot write the report: {error}")))
        }
        _ => Ok(()),
    }
}

fn request(args: &RunArgs) -> anyhow::Result<Request> {
    let toolchain = &args.toolchain;
    let jobs = cli::given(&toolchain.jobs)
        .map(|jobs| {
            jobs.parse().ok().filter(|jobs| *jobs > 0).ok_or_else(|| {
                Failure::usage(format!("--jobs takes a number from 1 on, not `{jobs}`"))
            })
        })
        .transpose()?;
    let owned = |text: &str| cli::given(text).map(str::to_owned);
    Ok(Request {
        reference: args.kernel.clone(),
        arch: match cli::given(&args.arch) {
            Some(arch) => sudbox_images::Arch::parse(arch)?,
            None => sudbox_images::Arch::default(),
        },
        flavour: cli::given(&args.flavour).unwrap_or("default").to_owned(),
        linux: cli::given(&args.linux).map(cli::path),
        fragments: args.config.iter().filter_map(|text| cli::given(text)).map(cli::path).collect(),
        toolchain: Toolchain {
            cc: owned(&toolchain.cc),
            llvm: owned(&toolchain.llvm),
            cross_compile: owned(&toolchain.cross_compile),
            kcflags: owned(&toolchain.kcflags),
            jobs,
        },
        patches: Vec::new(),
    })
}

/// The kernel, built if need be with tools installed if need be.
fn find_kernel(
    cache: &Cache,
    request: &Request,
    progress: &mut Progress,
) -> anyhow::Result<KernelImage> {
    match sudbox_images::kernel(cache, request, progress) {
        // A kernel that is in the cache needs no tools, so they are looked at only now.
        Err(error) if error.fault() == sudbox_images::Fault::Machine => {
            let missing = sudbox_images::missing_tools(cache, request)?;
            if missing.is_empty() {
                return Err(error.into());
            }
            setup::install(&missing, progress)?;
            Ok(sudbox_images::kernel(cache, request, progress)?)
        }
        found => Ok(found?),
    }
}

fn find_machine(progress: &mut Progress) -> anyhow::Result<Qemu> {
    let qemu = setup::qemu();
    if !setup::on_path(&qemu.name) {
        setup::install(&[qemu], progress)?;
    }
    Ok(Qemu::new())
}

/// The command that runs a case again on the same kernel, up to the case's id: as a make verb
/// for who came by make.
fn rerun(args: &RunArgs) -> String {
    let by_make = std::env::var_os("SUDBOX_MAKE").is_some();
    let mut line = String::from(if by_make { "make test-kernel" } else { "sudbox run" });
    let mut add = |variable: &str, option: &str, value: &str| {
        if !value.is_empty() {
            let value = quoted(value);
            let word =
                if by_make { format!(" {variable}={value}") } else { format!(" {option}{value}") };
            line.push_str(&word);
        }
    };
    add("KERNEL", "", &args.kernel);
    add("FLAVOUR", "--flavour ", &args.flavour);
    add("ARCH", "--arch ", &args.arch);
    add("LINUX", "--linux ", &args.linux);
    for fragment in &args.config {
        add("CONFIG", "--config ", fragment);
    }
    add("APPEND", "--append ", &args.append);
    add("CC", "--cc ", &args.toolchain.cc);
    add("LLVM", "--llvm ", &args.toolchain.llvm);
    add("CROSS_COMPILE", "--cross-compile ", &args.toolchain.cross_compile);
    add("KCFLAGS", "--kcflags ", &args.toolchain.kcflags);
    if !by_make {
        add("", "--cpu-model ", &args.cpu_model);
        if args.cpus != 1 {
            add("", "--cpus ", &args.cpus.to_string());
        }
    }
    line.push_str(if by_make { " CASES=" } else { " --cases " });
    line
}

/// A word as a shell takes it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// One line for each case: id, promise, and what it needs or is about.
fn list(selection: &Selection) -> String {
    let mut text = String::new();
    let width = selection.cases.iter().map(|case| case.id.len()).max().unwrap_or(0).max(BOOT.len());
    let _ = writeln!(text, "{BOOT:width$}  {BOOT_PROMISE}");
    for case in &selection.cases {
        let _ = writeln!(text, "{:width$}  {}", case.id, case.promise);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_from_a_shell_as_they_were() {
        assert_eq!(quoted("~/src"), "'~/src'");
        assert_eq!(quoted("v6.12"), "v6.12");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
