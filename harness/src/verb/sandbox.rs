// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox sandbox run`: runs a Windows program whose system calls guest-init emulates. An engine is the
//! kernel mechanism that traps these calls, such as dispatch. The program runs on the host's kernel if it
//! offers the engine, else on the pinned kernel in a VM.

use crate::cli::{OutputFormat, SandboxArgs, UserOptions};
use crate::execute::{self, GuestCommand, ProgramRun};
use crate::failure::{Code, Failure};
use crate::program::PackedProgram;
use crate::{guest, interrupt, output, running};
use std::io::{ErrorKind, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use sudbox_guest_init::sandbox::pe;
use sudbox_images::initramfs::Entry;
use sudbox_protocol::{Arch, Program};
use sudbox_report::program::{CapturedStream, Execution};
use sudbox_vmm::memfd;

/// Engine argument that lets guest-init pick the first engine that the kernel offers.
const FIRST_OFFERED: &str = "any";

/// Path of the program in a guest.
const GUEST_PATH: &str = "/program.exe";

/// Runs the program and prints its transcript. Returns the exit code.
pub(crate) fn run(args: &SandboxArgs, user_options: &UserOptions) -> anyhow::Result<u8> {
    let name = args.program.display();
    let is_other_arch = args.build.arch.as_ref().is_some_and(|arch| arch != "x86_64");
    if is_other_arch || Arch::host() != Some(Arch::X86_64) {
        return Err(Failure::usage("programs of 64-bit Windows run on x86-64 only"));
    }
    let read_failure =
        |error: std::io::Error| Failure::usage(format!("{name} cannot be read: {error}"));
    // A FIFO or device may never reach EOF.
    if !std::fs::metadata(&args.program).map_err(read_failure)?.is_file() {
        return Err(Failure::usage(format!("{name} is not a regular file")));
    }
    let content = std::fs::read(&args.program).map_err(read_failure)?;
    // The program is checked first, so that a bad program is refused before a kernel is built.
    pe::read(&content).map_err(|refusal| Failure::usage(format!("{name}: {refusal}")))?;
    let engine = args.engine.as_deref().unwrap_or(FIRST_OFFERED);
    let captures_output = args.format == OutputFormat::Json;
    let kernel = args.kernel.as_deref();
    if kernel.is_none_or(|kernel| kernel == running::REFERENCE) {
        // guest-init exits with 125 if the kernel does not offer the engine.
        let host_run = run_on_host(&args.program, engine, captures_output)?;
        if kernel.is_some() || host_run.exit_code != Code::Unjudged as u8 {
            if !captures_output {
                output::stderr_line(host_run.stderr.text().trim_end());
            }
            return host_run.into_program_run().finish(name.to_string(), args.format);
        }
        output::stderr_line(
            "sudbox: the running kernel does not offer the engine; using the pinned kernel",
        );
    }
    let arguments = ["guest-init", "--sandbox", engine, GUEST_PATH];
    let program = Program {
        path: b"/init".to_vec(),
        arguments: arguments.map(|word| word.as_bytes().to_vec()).to_vec(),
        environment: Vec::new(),
        directory: b"/".to_vec(),
    };
    let entries = vec![Entry::file(GUEST_PATH, 0o644, content)];
    let command = GuestCommand {
        name: name.to_string(),
        packed: PackedProgram { program, entries },
        timeout: None,
        boot_timeout: Duration::from_secs(args.boot.boot_timeout),
        captures_output,
    };
    let kernel = kernel.unwrap_or_default();
    let program_run = execute::execute(command, kernel, &args.vm, &args.build, user_options)?;
    program_run.finish(name.to_string(), args.format)
}

/// A run of guest-init on the host's kernel: its end and its output.
struct HostRun {
    exit_code: u8,
    /// The captured stdout; empty if stdout was forwarded.
    stdout: CapturedStream,
    stderr: CapturedStream,
}

impl HostRun {
    fn into_program_run(self) -> ProgramRun {
        let mut execution = Execution { exit_status: Some(self.exit_code), ..Execution::default() };
        execution.set_output(self.stdout, self.stderr);
        ProgramRun {
            kernel: running::kernel_for_report(),
            machine: "this one, without a VM".to_owned(),
            execution,
            result: Ok(self.exit_code),
        }
    }
}

/// Runs guest-init with the program on the host's kernel. Its stdout is forwarded unless
/// `captures_output` is set.
fn run_on_host(program: &Path, engine: &str, captures_output: bool) -> anyhow::Result<HostRun> {
    let guest_init_failure = |error: std::io::Error| {
        Failure::machine(format!("cannot run guest-init on this machine: {error}"))
    };
    let mut init =
        memfd::create(c"guest-init", memfd::Contents::Program).map_err(guest_init_failure)?;
    init.write_all(guest::embedded_guest_init()).map_err(guest_init_failure)?;
    let mut child = Command::new(format!("/proc/self/fd/{}", init.as_raw_fd()))
        .args(["--sandbox", engine])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(if captures_output { Stdio::piped() } else { Stdio::inherit() })
        .stderr(Stdio::piped())
        .spawn()
        .map_err(guest_init_failure)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Two threads read the streams, because guest-init stops when one pipe is full.
    let (stdout, stderr) = std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read_stream(stdout));
        let stderr = read_stream(stderr);
        (stdout.join().expect("reading does not panic"), stderr)
    });
    let status = child.wait().map_err(guest_init_failure)?;
    if interrupt::is_pending() {
        return Err(Failure::interrupted());
    }
    let (stdout, stderr) =
        (stdout.map_err(guest_init_failure)?, stderr.map_err(guest_init_failure)?);
    let exit_code = status.code().and_then(|code| u8::try_from(code).ok());
    let exit_code =
        exit_code.ok_or_else(|| Failure::machine(format!("guest-init died: {}", stderr.text())))?;
    Ok(HostRun { exit_code, stdout, stderr })
}

/// Reads a stream to its end. Returns an empty stream for `None`.
fn read_stream(stream: Option<impl Read>) -> std::io::Result<CapturedStream> {
    let mut captured = CapturedStream::default();
    let Some(mut stream) = stream else { return Ok(captured) };
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(captured),
            Ok(count) => captured.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
