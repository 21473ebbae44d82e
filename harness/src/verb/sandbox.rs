// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox sandbox run`: runs a Windows program whose system calls guest-init emulates, on the
//! host's kernel if that offers the engine, else on the pinned kernel in a VM.

use crate::cli::{GivenOptions, SandboxArgs};
use crate::execute::{self, GuestCommand};
use crate::failure::{Code, Failure};
use crate::program::PackedProgram;
use crate::{guest, interrupt, output, running};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use sudbox_guest_init::sandbox::pe;
use sudbox_images::initramfs::Entry;
use sudbox_protocol::Program;
use sudbox_vmm::memfd;

/// Engine argument that lets guest-init pick the first engine that the kernel offers.
const FIRST_OFFERED: &str = "any";

/// Path of the program in a guest.
const GUEST_PATH: &str = "/program.exe";

/// Runs the program and prints its transcript. Returns the exit code.
pub(crate) fn run(args: &SandboxArgs, given: &GivenOptions) -> anyhow::Result<u8> {
    let name = args.program.display();
    let other = args.build.arch.as_ref().is_some_and(|arch| arch != "x86_64");
    if other || !cfg!(target_arch = "x86_64") {
        return Err(Failure::usage("programs of 64-bit Windows run on x86-64 only"));
    }
    let unread = |error: std::io::Error| Failure::usage(format!("{name} cannot be read: {error}"));
    // A FIFO or device may never reach EOF.
    if !std::fs::metadata(&args.program).map_err(unread)?.is_file() {
        return Err(Failure::usage(format!("{name} is not a regular file")));
    }
    let content = std::fs::read(&args.program).map_err(unread)?;
    // First, so that a bad program is refused before a kernel is built.
    pe::read(&content).map_err(|refusal| Failure::usage(format!("{name}: {refusal}")))?;
    let engine = args.engine.as_deref().unwrap_or(FIRST_OFFERED);
    let kernel = args.kernel.as_deref();
    if kernel.is_none_or(|kernel| kernel == running::NAME) {
        let ran = run_on_host(&args.program, engine)?;
        if kernel.is_some() || ran.code != Code::Unjudged as u8 {
            output::stderr_line(ran.stderr.trim_end());
            return Ok(ran.code);
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
    };
    execute::execute(command, kernel.unwrap_or_default(), &args.vm, &args.build, given)
}

/// The exit code of guest-init on the host's kernel, and its stderr.
struct HostRun {
    code: u8,
    stderr: String,
}

fn run_on_host(program: &Path, engine: &str) -> anyhow::Result<HostRun> {
    let failed = |error: std::io::Error| {
        Failure::machine(format!("cannot run guest-init on this machine: {error}"))
    };
    let mut init = memfd::create(c"guest-init", memfd::Contents::Program).map_err(failed)?;
    init.write_all(guest::embedded()).map_err(failed)?;
    let output = Command::new(format!("/proc/self/fd/{}", init.as_raw_fd()))
        .args(["--sandbox", engine])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .output()
        .map_err(failed)?;
    if interrupt::pending() {
        return Err(Failure::interrupted());
    }
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = code.ok_or_else(|| Failure::machine(format!("guest-init died: {stderr}")))?;
    Ok(HostRun { code, stderr })
}
