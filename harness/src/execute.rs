// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs a program in a VM: finds the kernel, boots it, and reports the output and the end.

use crate::cli::{BuildArgs, OutputFormat, UserOptions, VmArgs};
use crate::failure::{self, Code, Failure};
use crate::output::folder::RunFolder;
use crate::output::progress::Progress;
use crate::program::PackedProgram;
use crate::session::conversation::{Conversation, Ending, Limits};
use crate::session::kernel_log;
use crate::session::program::{self, ProgramResult};
use crate::session::vm::VmGuest;
use crate::{backend, guest, judge, kernel, output, running};
use std::path::Path;
use std::time::Duration;
use sudbox_images::{Cache, initramfs};
use sudbox_protocol::ProgramEnd;
use sudbox_report::program::{CapturedStream, Execution, ProgramReport, STREAM_LIMIT};
use sudbox_report::{Kernel, text};
use sudbox_vmm::session::Session;

/// The time limit of a program without `--timeout`: a year, which can be added to the current time
/// without overflow.
const NO_LIMIT: Duration = Duration::from_secs(1 << 25);

/// Difference between the exit status for a program that a signal killed and the number of the
/// signal, as in shells.
const SIGNAL_STATUS_BASE: u8 = 128;

/// Number of SIGPIPE, which kills a program that writes to a pipe without a reader.
const SIGPIPE: u8 = 13;

/// Refuses the host's kernel, which needs no VM to run a program.
///
/// # Errors
/// If `kernel` is `running`.
pub(crate) fn refuse_running_kernel(kernel: &str) -> anyhow::Result<()> {
    if kernel == running::REFERENCE {
        return Err(Failure::usage(
            "the kernel that is running here runs programs without sudbox: name another",
        ));
    }
    Ok(())
}

/// A program to run in a guest.
pub(crate) struct GuestCommand {
    /// Name of the program in messages.
    pub(crate) name: String,
    /// The program and its files.
    pub(crate) packed: PackedProgram,
    /// Maximum time from the start of the program to its end.
    pub(crate) timeout: Option<Duration>,
    /// Maximum time without console output while the kernel boots.
    pub(crate) boot_timeout: Duration,
    /// Whether the output of the program is captured for a report; if not, it is forwarded.
    pub(crate) captures_output: bool,
}

/// A program that ran on a kernel, or could not be started there.
pub(crate) struct ProgramRun {
    pub(crate) kernel: Kernel,
    pub(crate) machine: String,
    /// The output and the end of the program; without the output if it was forwarded.
    pub(crate) execution: Execution,
    /// The exit code of sudbox, or the reason why the program did not start or end.
    pub(crate) result: anyhow::Result<u8>,
}

impl ProgramRun {
    /// Prints the report on `program` if `format` is JSON, and returns the exit code.
    ///
    /// # Errors
    /// If the program did not start or end, or the report cannot be printed.
    pub(crate) fn finish(self, program: String, format: OutputFormat) -> anyhow::Result<u8> {
        let ProgramRun { kernel, machine, execution, result } = self;
        if format == OutputFormat::Json {
            let exit_code = failure::exit_code(&result);
            let schema = 1;
            let report = ProgramReport { schema, program, kernel, machine, execution, exit_code };
            output::print(&report.to_json())?;
        }
        result
    }
}

/// Runs the program on a kernel.
///
/// # Errors
/// If the kernel cannot be built, or its VM cannot be started.
pub(crate) fn execute(
    command: GuestCommand,
    kernel: &str,
    vm_args: &VmArgs,
    build: &BuildArgs,
    user_options: &UserOptions,
) -> anyhow::Result<ProgramRun> {
    let GuestCommand { name, packed, timeout, boot_timeout, captures_output } = command;
    let PackedProgram { program, entries } = packed;
    let request = kernel::new_request(kernel, build, user_options)?;
    let mut progress = Progress::new();
    let machine = backend::prepare_machine(vm_args, request.arch, &mut progress)?;
    let cache = Cache::open()?;
    let image = kernel::find_or_build(&cache, &request, &mut progress)?;
    let folder = RunFolder::create(&cache)?;
    let init = guest::guest_init(request.arch, &mut progress)?;
    let mut initramfs_entries = guest::initramfs_entries(&init, &image.modules)?;
    let init_paths: Vec<String> =
        initramfs_entries.iter().map(|entry| entry.path.clone()).collect();
    // The initramfs of guest-init has some entries already, such as `/tmp`.
    let is_new = |entry: &initramfs::Entry| {
        !init_paths.iter().any(|path| path == entry.path.trim_start_matches('/'))
    };
    initramfs_entries.extend(entries.into_iter().filter(is_new));
    let initramfs = folder.write("initramfs.cpio", initramfs::pack(&initramfs_entries))?;
    let arguments = format!(
        "{} {}",
        judge::boot_arguments(vm_args),
        vm_args.append.as_deref().unwrap_or_default()
    );
    let spec = kernel::vm_spec(&image, vm_args, initramfs, arguments);
    let session = Session::boot(&*machine, &spec).map_err(backend::boot_failure)?;
    let mut vm = VmGuest::new(session, vm_args.console, image.vmlinux.as_deref(), &mut progress);
    drop(progress);
    // A user of gdb may stop the guest for any length of time.
    let boot_limits = if vm_args.gdb {
        Limits::with_total_limit(NO_LIMIT)
    } else {
        Limits::with_silence_limit(boot_timeout)
    };
    let (mut stdout, mut stderr) = (CapturedStream::default(), CapturedStream::default());
    let mut take_output = |is_stderr: bool, bytes: &[u8]| {
        match (captures_output, is_stderr) {
            (false, _) => return program::forward_output(is_stderr, bytes),
            (true, false) => stdout.push(bytes),
            (true, true) => stderr.push(bytes),
        }
        Ok(())
    };
    let limit = timeout.unwrap_or(NO_LIMIT);
    let mut run = program::run_program(&mut vm, program, boot_limits, limit, &mut take_output)
        .map_err(|error| Failure::machine(format!("cannot read stdin: {error}")))?;
    let console_log = folder.write("console.log", vm.console())?;
    let vm_end = vm.end(&mut run.conversation);
    for (stream, captured) in [("stdout", &stdout), ("stderr", &stderr)] {
        if captured.omitted_bytes() > 0 {
            let limit = STREAM_LIMIT >> 20;
            output::stderr_line(&format!(
                "sudbox: the report has only the first {limit} MiB that {name} wrote to {stream}"
            ));
        }
    }
    let (exit_status, signal) = match &run.result {
        Some(ProgramResult::Ended(ProgramEnd::Exited(status))) => (Some(*status), None),
        Some(ProgramResult::Ended(ProgramEnd::Killed(signal))) => (None, Some(*signal)),
        _ => (None, None),
    };
    let fault = kernel_log::scan(&run.conversation.console);
    let kernel_fault = fault.map(|report| text::escaped_line(&report.headline));
    let result = match (vm_end, run.result) {
        (Err(fault), _) => Err(Failure::machine(fault.to_string())),
        (Ok(()), Some(result)) => {
            program_exit_status(result, &name, kernel_fault.as_deref(), &console_log)
        }
        (Ok(()), None) => {
            Err(failure_without_end(&run.conversation, &name, timeout, &console_log).into())
        }
    };
    let error = result.as_ref().err().map(|error| format!("{error:#}"));
    let mut execution =
        Execution { exit_status, signal, kernel_fault, error, ..Execution::default() };
    execution.set_output(stdout, stderr);
    Ok(ProgramRun {
        kernel: kernel::kernel_for_report(&image, &request),
        machine: machine.describe(spec.discovery),
        execution,
        result,
    })
}

/// The exit status of a program that ended. Prints a note if the kernel reported a fault.
fn program_exit_status(
    result: ProgramResult,
    name: &str,
    kernel_fault: Option<&str>,
    console_log: &Path,
) -> anyhow::Result<u8> {
    match result {
        ProgramResult::Ended(end) => {
            if let Some(fault) = kernel_fault {
                let log = console_log.display();
                output::stderr_line(&format!(
                    "sudbox: the kernel reported a fault: {fault} ({log})"
                ));
            }
            match end {
                ProgramEnd::Exited(code) => Ok(code),
                ProgramEnd::Killed(signal) => Ok(SIGNAL_STATUS_BASE + signal),
                ProgramEnd::NotStarted(reason) => Err(Failure::usage(format!(
                    "{name} cannot be started on this kernel: {reason}"
                ))),
            }
        }
        ProgramResult::OutputClosed => Ok(SIGNAL_STATUS_BASE + SIGPIPE),
        ProgramResult::OutputFailed(error) => {
            Err(Failure::machine(format!("cannot write the program's output: {error}")))
        }
    }
}

/// The reason why a program did not end.
fn failure_without_end(
    conversation: &Conversation,
    name: &str,
    timeout: Option<Duration>,
    console_log: &Path,
) -> Failure {
    let cause = conversation.cause();
    let description = match (&conversation.ending, conversation.hello_received) {
        (Ending::Interrupted, _) => {
            return Failure { code: Code::Interrupted, message: "interrupted".to_owned() };
        }
        (Ending::Stalled, true) => {
            let limit = timeout.unwrap_or(NO_LIMIT).as_secs();
            let message = format!("{name} did not end within {limit} s");
            return Failure { code: Code::TimedOut, message };
        }
        (Ending::ProtocolError(_) | Ending::InitFailed(_), _) => cause,
        (_, true) => format!("the kernel died while {name} ran: {cause}"),
        (Ending::Died, false) => format!("the kernel died before {name} was started: {cause}"),
        (_, false) => format!("this kernel does not boot: {cause}"),
    };
    let log = console_log.display();
    Failure { code: Code::Unjudged, message: format!("{description}; the console log is {log}") }
}
