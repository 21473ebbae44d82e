//! The QEMU backend: QEMU's microvm machine, with its vsock device served by this process.

mod command;
mod monitor;
mod process;
#[cfg(target_arch = "x86_64")]
mod tsc;
mod vhost;

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use command::{Accelerator, program};

use crate::machine::{BootError, Machine, VmEnd, VmSpec};
use crate::poll;
use crate::session::{Session, Vm};
use crate::vsock::device::Device;
use crate::vsock::link::Link;
use command::Inherited;
use monitor::{Monitor, Said};
use process::Process;
use vhost::Adapter;

/// How long QEMU may take to set up its machine. It takes 20 ms; more than this is no load, it is
/// a hang.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Size of the console's pipe in bytes: what the guest can print while nobody reads, before it has
/// to wait.
const CONSOLE_PIPE: libc::c_int = 1024 * 1024;

/// What QEMU is to run on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// The reason, for people.
    pub reason: &'static str,
}

/// Chooses what QEMU runs on.
#[must_use]
pub fn accelerator() -> Choice {
    Choice {
        accelerator: Accelerator::Tcg,
        reason: "KVM is left alone, as nothing here can tell yet whether it runs kernels",
    }
}

/// The kernel arguments that a machine with so many CPUs puts in front of the caller's, with what
/// this host accelerates it by. May take 10 ms to measure the host's clock.
#[must_use]
pub fn kernel_arguments(cpus: u8) -> String {
    let accelerator = accelerator().accelerator;
    command::kernel_arguments(accelerator, cpus, tsc_khz(accelerator))
}

/// The speed of the guest's TSC in kHz, where it is known: under TCG it is the host's.
fn tsc_khz(accelerator: Accelerator) -> Option<u64> {
    match accelerator {
        #[cfg(target_arch = "x86_64")]
        Accelerator::Tcg => tsc::khz(),
        #[cfg(not(target_arch = "x86_64"))]
        Accelerator::Tcg => None,
    }
}

/// The backend.
#[derive(Clone, Copy, Debug)]
pub struct Qemu {
    choice: Choice,
}

impl Qemu {
    /// QEMU on what is best on this machine.
    #[must_use]
    pub fn new() -> Qemu {
        #[cfg(target_arch = "x86_64")]
        tsc::start();
        Qemu { choice: accelerator() }
    }
}

impl Default for Qemu {
    fn default() -> Self {
        Qemu::new()
    }
}

impl Machine for Qemu {
    fn describe(&self) -> String {
        let Choice { accelerator: Accelerator::Tcg, reason } = self.choice;
        format!("qemu (microvm) on tcg: {reason}")
    }

    fn boot(&self, spec: &VmSpec) -> Result<Session, BootError> {
        let mut device = Device::new();
        device.listen(spec.port);
        let link = Arc::new(Link::new(device).map_err(system("make an eventfd"))?);
        let (adapter, vsock) =
            Adapter::start(link.clone()).map_err(system("serve the vsock device"))?;
        let (console, console_writer) =
            console_pipe().map_err(system("make a pipe for the console"))?;
        let (monitor, monitor_peer) =
            UnixStream::pair().map_err(system("make a socket for the monitor"))?;
        let monitor = Monitor::new(monitor).map_err(system("speak to the monitor"))?;
        let debugger = spec.gdb.then(Debugger::new).transpose();
        let debugger = debugger.map_err(system("make a directory for the debugger's socket"))?;

        let inherited = Inherited {
            vsock: vsock.as_raw_fd(),
            monitor: monitor_peer.as_raw_fd(),
            console: console_writer.as_raw_fd(),
            debugger: debugger.as_ref().map(|d| d.path.as_ref()),
        };
        let accelerator = self.choice.accelerator;
        let arguments = command::arguments(spec, accelerator, tsc_khz(accelerator), inherited);
        let descriptors: Vec<OwnedFd> =
            vec![vsock.into(), monitor_peer.into(), console_writer.into()];
        let program = program(spec.arch);
        let process = match Process::spawn(program, &arguments, descriptors) {
            Ok(process) => process,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(BootError::Missing { program: program.to_owned() });
            }
            Err(e) => return Err(system("start QEMU")(e)),
        };
        let mut vm = QemuVm { process, monitor, adapter, debugger, stop: Stop::default() };
        vm.wait_until_ready(program)?;
        Ok(Session::new(Box::new(vm), link, spec.port, console))
    }
}

/// What is known of a VM's end before its process is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stop {
    /// Nothing; it runs.
    #[default]
    None,
    /// The guest is stopped and the registers were asked for.
    Asked,
    /// We have killed QEMU, because of this.
    Killed(VmEnd),
}

/// A QEMU with all that belongs to it. The fields are dropped in this order: the adapter's threads
/// end after QEMU.
struct QemuVm {
    process: Process,
    monitor: Monitor,
    adapter: Adapter,
    debugger: Option<Debugger>,
    stop: Stop,
}

impl QemuVm {
    /// Waits until QEMU runs the guest; if it ends before, its words say why.
    fn wait_until_ready(&mut self, program: &str) -> Result<(), BootError> {
        let deadline = Instant::now() + START_LIMIT;
        let refused = |words| BootError::Refused { backend: program.to_owned(), words };
        loop {
            let said = self.monitor.read();
            if said.contains(&Said::Ready) {
                said.into_iter().for_each(|said| self.heed(said));
                return Ok(());
            }
            if let Some(status) = self.process.advance() {
                let words = self.process.words();
                return Err(refused(if words.is_empty() { status.to_string() } else { words }));
            }
            if Instant::now() >= deadline {
                return Err(refused(format!("nothing for {} s", START_LIMIT.as_secs())));
            }
            poll::wait(&self.descriptors(), deadline).map_err(system("wait for QEMU"))?;
        }
    }

    /// Does what follows from QEMU's words.
    fn heed(&mut self, said: Said) {
        match (said, &self.stop) {
            (Said::Stopped, Stop::None) => {
                self.monitor.ask_registers();
                self.stop = Stop::Asked;
            }
            (Said::Registers(registers), Stop::Asked) => {
                // QEMU would wait for ever now, and has nothing to put in order.
                self.process.kill();
                self.stop = Stop::Killed(stopped_with(&registers));
            }
            _ => {}
        }
    }
}

impl Vm for QemuVm {
    fn descriptors(&self) -> Vec<RawFd> {
        let mut all = self.process.descriptors();
        all.push(self.monitor.descriptor());
        if !matches!(self.stop, Stop::Killed(_)) {
            all.push(self.adapter.descriptor());
        }
        all
    }

    fn advance(&mut self) -> Option<VmEnd> {
        self.monitor.read().into_iter().for_each(|said| self.heed(said));
        if let (Some(why), false) = (self.adapter.failure(), matches!(self.stop, Stop::Killed(_))) {
            // Without this, a guest whose device is dead would look like a kernel at fault.
            let words = format!("its vsock device failed: {why}: {}", self.process.words());
            self.process.kill();
            self.stop = Stop::Killed(VmEnd::Failed(words));
        }
        let status = self.process.advance()?;
        Some(match &self.stop {
            Stop::Killed(end) => end.clone(),
            _ => ended_with(status, self.process.words()),
        })
    }

    fn debugger(&self) -> Option<&str> {
        self.debugger.as_ref().map(|d| d.path.as_str())
    }
}

/// How a guest ended that reset the machine. On microvm without ACPI nothing but a triple fault
/// can.
fn stopped_with(registers: &str) -> VmEnd {
    if monitor::restarts_on_purpose(registers) {
        VmEnd::Restart
    } else {
        VmEnd::TripleFault(monitor::without_fpu(registers))
    }
}

/// How a QEMU ended that we did not kill.
fn ended_with(status: ExitStatus, words: String) -> VmEnd {
    // QEMU catches these signals, says so and exits with 0.
    let caught = words
        .lines()
        .find_map(|line| line.split_once("terminating on signal "))
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    match (status.signal(), caught) {
        // It takes these to itself when it gives up.
        (Some(signal @ (libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS | libc::SIGILL)), _) => {
            let words = if words.is_empty() { "no words".to_owned() } else { words };
            VmEnd::Failed(format!("died of signal {signal}: {words}"))
        }
        (Some(signal), _) | (None, Some(signal)) => VmEnd::Killed(signal),
        (None, None) if words.is_empty() => VmEnd::Failed(status.to_string()),
        (None, None) => VmEnd::Failed(words),
    }
}

/// A place for the debugger's socket, which needs a path that a person can type.
struct Debugger {
    path: String,
    /// Removes the directory when it is dropped.
    _dir: tempfile::TempDir,
}

impl Debugger {
    fn new() -> io::Result<Debugger> {
        let dir = tempfile::Builder::new().prefix("sudbox-").tempdir()?;
        let path = dir.path().join("gdb").into_os_string().into_string();
        let path = path.map_err(|_| io::Error::other("the temporary directory is not UTF-8"))?;
        Ok(Debugger { path, _dir: dir })
    }
}

/// The console's pipe: read without waiting, and as large as we may.
fn console_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    poll::nonblocking(reader.as_raw_fd())?;
    // SAFETY: F_SETPIPE_SZ takes a number and touches no memory. A smaller pipe works as well.
    unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, CONSOLE_PIPE) };
    Ok((reader, writer))
}

fn system(what: &'static str) -> impl Fn(io::Error) -> BootError {
    move |source| BootError::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_qemu_has_a_name() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = ExitStatus::from_raw;
        assert_eq!(ended_with(signal(9), String::new()), VmEnd::Killed(9));
        let words = "qemu-system-x86_64: terminating on signal 15 from pid 123 (kill)";
        assert_eq!(ended_with(exit(0), words.to_owned()), VmEnd::Killed(15));
        assert_eq!(ended_with(exit(1), "no room".to_owned()), VmEnd::Failed("no room".to_owned()));
        assert_eq!(ended_with(exit(1), String::new()), VmEnd::Failed("exit status: 1".to_owned()));
        let VmEnd::Failed(words) = ended_with(signal(6), "assertion".to_owned()) else { panic!() };
        assert!(words.contains("signal 6") && words.contains("assertion"));
    }

    #[test]
    fn a_reset_is_a_restart_or_a_crash() {
        assert_eq!(stopped_with("IDT=     0000000000000000 00000000"), VmEnd::Restart);
        let crash = "RIP=ffffffff81000000\r\nIDT=     fffffe0000000000 00000fff\r\n";
        let VmEnd::TripleFault(registers) = stopped_with(crash) else { panic!() };
        assert!(registers.starts_with("RIP=ffffffff81000000\n"));
    }
}
