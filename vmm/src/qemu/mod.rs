// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The QEMU backend: runs a QEMU process for each VM, and serves the VM's vsock device over
//! vhost-user.

mod board;
mod command;
mod confinement;
mod monitor;
mod process;
mod trace;
#[cfg_attr(not(target_arch = "x86_64"), path = "no_tsc.rs")]
mod tsc;
mod vhost;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use command::{Accelerator, program};

use crate::backend::{Backend, Clock, Offer, Requirements};
use crate::console;
use crate::machine::{
    BootError, DeviceDiscovery, Machine, MarkedOperationTrace, RunningVm, Vm, VmEnd, VmSpec,
};
use crate::poll;
use crate::probe::{self, Probe};
use crate::vsock::device::Device;
use crate::vsock::shared_device::SharedDevice;
use crate::vsock::stream::VsockStream;
use board::{Board, BootFacts};
use command::Inherited;
use confinement::{Needs, QemuConfinement};
use monitor::{Message, Monitor};
use process::Process;
use sudbox_protocol::Arch;
use trace::Tracer;
use vhost::VhostServer;

/// Time limit for QEMU to set up its machine, which takes about 20 ms.
const START_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Returns the kernel arguments that QEMU's board needs on TCG with one CPU. A boot puts these
/// arguments before the caller's. The arguments include this host's TSC frequency, whose
/// measurement may take 10 ms.
#[must_use]
pub fn kernel_arguments(arch: Arch) -> String {
    let accelerator = Accelerator::Tcg;
    (board::for_arch(arch).kernel_arguments)(&BootFacts {
        accelerator,
        cpus: 1,
        discovery: DeviceDiscovery::CommandLine,
        tsc_khz: tsc_khz(accelerator),
        config_hz: None,
    })
}

/// Begins the measurement of the host's TSC frequency. A boot on TCG needs the result, which is
/// available 10 ms later.
pub fn start_tsc_measurement() {
    tsc::take_first_sample();
}

/// Returns the frequency of the guest's TSC in kHz; `None` if the frequency is unknown. Under TCG
/// the guest reads the host's TSC.
fn tsc_khz(accelerator: Accelerator) -> Option<u64> {
    match accelerator {
        Accelerator::Tcg => tsc::frequency_khz(),
        // QEMU counts 1 ns, and so one tick, for each instruction.
        Accelerator::Counting => Some(1_000_000),
        // A guest of KVM gets the frequency from kvm-clock.
        Accelerator::Kvm => None,
    }
}

/// The row in the table of backends for QEMU with automatic choice of the accelerator: KVM if it may
/// work, else TCG.
pub const BACKEND: Backend = Backend {
    name: "qemu",
    summary: "QEMU, on KVM if the probe finds KVM usable",
    prepare: start_tsc_measurement,
    offer: |requirements| {
        Ok(offer(requirements, choose_accelerator(requirements, probe::cached_probe)))
    },
};

/// The row in the table of backends for QEMU on TCG.
pub const TCG_BACKEND: Backend = Backend {
    name: "tcg",
    summary: "QEMU's emulation",
    prepare: start_tsc_measurement,
    offer: |requirements| {
        let reason =
            emulation_reason(requirements.arch).unwrap_or_else(|| "as requested".to_owned());
        Ok(offer(requirements, (Accelerator::Tcg, reason)))
    },
};

/// Returns the reason why guests of `arch` must be emulated; `None` if this machine may run them.
fn emulation_reason(arch: Arch) -> Option<String> {
    (Arch::host() != Some(arch)).then(|| format!("this machine is not {}", arch.name()))
}

/// Returns the accelerator for `requirements`, and the reason for the choice. Probes /dev/kvm only
/// if the choice depends on the result.
fn choose_accelerator<'p>(
    requirements: &Requirements,
    probe: impl FnOnce() -> &'p Probe,
) -> (Accelerator, String) {
    if let Some(reason) = emulation_reason(requirements.arch) {
        return (Accelerator::Tcg, reason);
    }
    if requirements.names_cpu_model {
        return (Accelerator::Tcg, "only emulation has the requested CPU model".to_owned());
    }
    let probe = probe();
    let may_use_kvm = probe.finding.is_usable() || probe.finding.may_work_for_qemu();
    (if may_use_kvm { Accelerator::Kvm } else { Accelerator::Tcg }, probe.to_string())
}

/// Returns the offer of QEMU on the chosen accelerator. Only emulation can count instructions, so
/// the offer is for emulation if `requirements` ask for counted instructions.
fn offer(requirements: &Requirements, chosen: (Accelerator, String)) -> Offer {
    let (accelerator, reason) = match chosen {
        (Accelerator::Kvm, _) if requirements.clock_counts_instructions => {
            (Accelerator::Counting, "only emulation counts instructions".to_owned())
        }
        (_, reason) if requirements.clock_counts_instructions => (Accelerator::Counting, reason),
        chosen => chosen,
    };
    let clock = match accelerator {
        Accelerator::Tcg => Clock::Emulator,
        Accelerator::Counting => Clock::Instructions,
        Accelerator::Kvm => Clock::Processor,
    };
    Offer {
        machine: Box::new(Qemu::new(requirements.arch, accelerator, reason)),
        required_program: Some(program(requirements.arch)),
        clock,
    }
}

/// QEMU with one board and one accelerator.
#[derive(Clone, Debug)]
pub struct Qemu {
    arch: Arch,
    accelerator: Accelerator,
    reason: String,
    machine_options: String,
}

impl Qemu {
    /// Creates a machine for guests of `arch` on an accelerator. `reason` says in one line why this
    /// accelerator was chosen.
    #[must_use]
    pub fn new(arch: Arch, accelerator: Accelerator, reason: String) -> Qemu {
        Qemu { arch, accelerator, reason, machine_options: String::new() }
    }

    /// Sets further options of QEMU's `-machine`, as text that is appended to the backend's
    /// options. Each option begins with a comma.
    #[must_use]
    pub fn with_machine_options(self, options: &str) -> Qemu {
        Qemu { machine_options: options.to_owned(), ..self }
    }
}

impl Machine for Qemu {
    fn describe(&self, discovery: DeviceDiscovery) -> String {
        let accelerator = match self.accelerator {
            Accelerator::Tcg => "tcg",
            Accelerator::Counting => "tcg, counting instructions",
            Accelerator::Kvm => "kvm",
        };
        let machine = (board::for_arch(self.arch).name)(discovery);
        format!("qemu ({machine}) on {accelerator}: {}", self.reason)
    }

    fn note(&self) -> Option<String> {
        confinement::missing_measure()
    }

    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError> {
        let absolute = |path| std::path::absolute(path).map_err(system_error("find a file"));
        // QEMU has a working directory of its own.
        let spec = &VmSpec {
            kernel: absolute(&spec.kernel)?,
            initramfs: absolute(&spec.initramfs)?,
            ..spec.clone()
        };
        let mut device = Device::new();
        device.listen(spec.vsock_port);
        let shared_device =
            Arc::new(SharedDevice::new(device).map_err(system_error("make an eventfd"))?);
        let (vhost_server, vsock) = VhostServer::start(shared_device.clone())
            .map_err(system_error("serve the vsock device"))?;
        let (console, console_writer) =
            console::pipe().map_err(system_error("make a pipe for the console"))?;
        let (monitor, monitor_peer) =
            UnixStream::pair().map_err(system_error("make a socket for the monitor"))?;
        let monitor = Monitor::new(monitor).map_err(system_error("speak to the monitor"))?;
        let accelerator = match self.accelerator {
            Accelerator::Tcg if spec.clock_counts_instructions => Accelerator::Counting,
            accelerator => accelerator,
        };
        let is_traced = spec.trace_marked_operations
            && accelerator == Accelerator::Counting
            && self.arch == Arch::X86_64
            && !spec.wait_for_gdb;
        let gdb_socket = (spec.wait_for_gdb || is_traced).then(GdbSocket::new).transpose();
        let gdb_socket =
            gdb_socket.map_err(system_error("make a directory for the debugger's socket"))?;

        let log = gdb_socket.as_ref().filter(|_| is_traced).map(GdbSocket::log_path);
        let inherited = Inherited {
            vsock: vsock.as_raw_fd(),
            monitor: monitor_peer.as_raw_fd(),
            console: console_writer.as_raw_fd(),
            gdb_socket: gdb_socket.as_ref().map(|socket| socket.path.as_ref()),
            log: log.as_deref(),
        };
        let board = board::for_arch(self.arch);
        let guest_tsc_khz = tsc_khz(accelerator);
        let arguments = command::arguments(
            spec,
            board,
            accelerator,
            &self.machine_options,
            guest_tsc_khz,
            inherited,
        );
        let descriptors: Vec<OwnedFd> =
            vec![vsock.into(), monitor_peer.into(), console_writer.into()];
        let program = board.program;
        let program_path = sudbox_confinement::find_program(program)
            .ok_or_else(|| BootError::MissingProgram { program: program.to_owned() })?;
        let program_path = std::path::absolute(program_path).map_err(system_error("find QEMU"))?;
        let confinement = QemuConfinement::new(&Needs {
            program: &program_path,
            kernel: &spec.kernel,
            initramfs: &spec.initramfs,
            accelerator,
            memory_mib: spec.memory_mib,
            debugger_folder: gdb_socket.as_ref().map(|socket| socket.directory.path()),
            has_log: log.is_some(),
        })
        .map_err(system_error("confine QEMU"))?;
        let process = Process::spawn(&program_path, &arguments, descriptors, confinement)
            .map_err(system_error("start QEMU"))?;
        let tracer = gdb_socket.as_ref().zip(log);
        let tracer = tracer.map(|(socket, log)| Tracer::start(socket.path.clone(), log));
        let mut vm = QemuVm {
            board,
            process,
            monitor,
            vhost_server,
            tracer,
            gdb_socket,
            shutdown: ShutdownState::default(),
        };
        vm.wait_until_ready(program).map_err(|error| match (error, &spec.cpu_model) {
            (BootError::Refused { message, .. }, Some(model))
                if message.contains("unable to find CPU model") =>
            {
                BootError::UnknownCpuModel { backend: program.to_owned(), model: model.clone() }
            }
            (error, _) => error,
        })?;
        let stream = VsockStream::new(shared_device, spec.vsock_port);
        Ok(RunningVm { vm: Box::new(vm), stream: Box::new(stream), console })
    }
}

/// Time limit for QEMU to return the registers of an unresponsive guest.
const REGISTERS_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Progress of the guest's shutdown while QEMU runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ShutdownState {
    /// The guest is running.
    #[default]
    Running,
    /// The guest has shut down the machine, and the registers of its vCPUs were requested.
    RegistersRequested,
    /// This process has killed QEMU, and the VM has ended in this way.
    Killed(VmEnd),
}

/// A running QEMU. Rust drops the fields in the order of their declaration, so the threads of
/// `vhost_server` and `tracer` end after QEMU.
struct QemuVm {
    board: &'static Board,
    process: Process,
    monitor: Monitor,
    vhost_server: VhostServer,
    tracer: Option<Tracer>,
    gdb_socket: Option<GdbSocket>,
    shutdown: ShutdownState,
}

impl QemuVm {
    /// Waits until QEMU runs the guest.
    ///
    /// # Errors
    /// [`BootError::Refused`] if QEMU ends before the guest runs (with QEMU's own message), if the
    /// vsock device fails, or if QEMU takes longer than [`START_TIME_LIMIT`].
    fn wait_until_ready(&mut self, program: &str) -> Result<(), BootError> {
        let deadline = Instant::now() + START_TIME_LIMIT;
        let refusal = |message| BootError::Refused { backend: program.to_owned(), message };
        loop {
            let messages = self.monitor.read();
            if messages.contains(&Message::Ready) {
                messages.into_iter().for_each(|message| self.handle(message));
                return Ok(());
            }
            if let Some(status) = self.process.try_wait() {
                let message = self.process.stderr_text();
                return Err(refusal(if message.is_empty() { status.to_string() } else { message }));
            }
            if let Some(cause) = self.vhost_server.failure() {
                return Err(refusal(format!("the vsock device failed: {cause}")));
            }
            if Instant::now() >= deadline {
                return Err(refusal(format!(
                    "no machine was set up within {} s",
                    START_TIME_LIMIT.as_secs()
                )));
            }
            poll::wait_readable(&self.descriptors(), deadline)
                .map_err(system_error("wait for QEMU"))?;
        }
    }

    /// Handles a message of QEMU's monitor.
    fn handle(&mut self, message: Message) {
        match (message, &self.shutdown) {
            (Message::GuestShutdown, ShutdownState::Running) => {
                self.monitor.request_registers();
                self.shutdown = ShutdownState::RegistersRequested;
            }
            (Message::Registers(registers), ShutdownState::RegistersRequested) => {
                // Kill QEMU, which has nothing to clean up and would not end by itself.
                self.process.kill();
                self.shutdown = ShutdownState::Killed((self.board.end_after_reset)(&registers));
            }
            _ => {}
        }
    }
}

impl Vm for QemuVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut descriptors = self.process.descriptors();
        descriptors.push(self.monitor.descriptor());
        if !matches!(self.shutdown, ShutdownState::Killed(_)) {
            descriptors.push(self.vhost_server.descriptor());
        }
        descriptors
    }

    fn handle_events(&mut self) -> Option<VmEnd> {
        self.monitor.read().into_iter().for_each(|message| self.handle(message));
        if let (Some(cause), false) =
            (self.vhost_server.failure(), matches!(self.shutdown, ShutdownState::Killed(_)))
        {
            // End the VM. Without the device, the guest would hang, and the report would blame the
            // kernel.
            let message =
                format!("the vsock device failed: {cause}: {}", self.process.stderr_text());
            self.process.kill();
            self.shutdown = ShutdownState::Killed(VmEnd::Failed(message));
        }
        let status = self.process.try_wait()?;
        Some(match &self.shutdown {
            ShutdownState::Killed(end) => end.clone(),
            _ => end_of_exited_qemu(status, self.process.stderr_text()),
        })
    }

    fn gdb_target(&self) -> Option<&str> {
        let gdb_socket = self.gdb_socket.as_ref().filter(|_| self.tracer.is_none());
        gdb_socket.map(|socket| socket.path.as_str())
    }

    fn marked_operation_traces(&self) -> Result<Vec<MarkedOperationTrace>, String> {
        self.tracer.as_ref().map_or_else(|| Ok(Vec::new()), Tracer::traces)
    }

    /// Stops the vCPUs and leaves them stopped. Returns no lines if QEMU does not answer within
    /// [`REGISTERS_TIME_LIMIT`].
    fn describe_vcpus_before_end(&mut self) -> Vec<String> {
        if self.shutdown != ShutdownState::Running {
            return Vec::new();
        }
        self.monitor.pause_vcpus();
        self.monitor.request_registers();
        let deadline = Instant::now() + REGISTERS_TIME_LIMIT;
        loop {
            for message in self.monitor.read() {
                match message {
                    Message::Registers(registers) => {
                        return monitor::vcpu_states(&registers, self.board.describe_cpu);
                    }
                    message => self.handle(message),
                }
            }
            let wait_result = poll::wait_readable(&self.descriptors(), deadline);
            if wait_result.is_err()
                || Instant::now() >= deadline
                || self.process.try_wait().is_some()
            {
                return Vec::new();
            }
        }
    }
}

/// Returns the end of a VM whose QEMU exited with this status and was not killed by this process.
/// `message` is QEMU's stderr.
fn end_of_exited_qemu(status: ExitStatus, message: String) -> VmEnd {
    // QEMU catches signals such as SIGTERM, names the signal on stderr and exits with 0.
    let caught_signal = message
        .lines()
        .find_map(|line| line.split_once("terminating on signal "))
        .and_then(|(_, number)| {
            number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
        });
    match (status.signal(), caught_signal) {
        // These signals come from a failure of QEMU itself.
        (Some(signal @ (libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS | libc::SIGILL)), _) => {
            let message = if message.is_empty() { "no message".to_owned() } else { message };
            VmEnd::Failed(format!("killed by signal {signal}: {message}"))
        }
        (Some(signal), _) | (None, Some(signal)) => VmEnd::Killed(signal),
        (None, None) if message.is_empty() => VmEnd::Failed(status.to_string()),
        (None, None) => VmEnd::Failed(message),
    }
}

/// The gdb stub's socket in a temporary directory, whose path is short and easy to type.
struct GdbSocket {
    /// Path of the socket.
    path: String,
    /// Removes the directory when it is dropped.
    directory: tempfile::TempDir,
}

impl GdbSocket {
    fn new() -> io::Result<GdbSocket> {
        let folder = std::path::absolute(std::env::temp_dir())?;
        let directory = tempfile::Builder::new().prefix("sudbox-").tempdir_in(folder)?;
        let path = directory.path().join("gdb").into_os_string().into_string();
        let path = path.map_err(|_| io::Error::other("the temporary directory is not UTF-8"))?;
        Ok(GdbSocket { path, directory })
    }

    /// Returns a path for QEMU's log in the same directory.
    fn log_path(&self) -> PathBuf {
        Path::new(&self.path).with_file_name("log")
    }
}

/// Returns a function that wraps the error of a failed system call in [`BootError::System`].
fn system_error(action: &'static str) -> impl Fn(io::Error) -> BootError {
    move |source| BootError::System { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Finding;

    #[test]
    fn the_accelerator_is_kvm_where_kvm_may_work() {
        let Some(arch) = Arch::host() else { return };
        let no_extras = Requirements {
            arch,
            names_cpu_model: false,
            waits_for_gdb: false,
            clock_counts_instructions: false,
        };
        let choose = |requirements: &Requirements, finding| {
            let probe = Probe { finding, trace: Vec::new(), duration: Duration::from_micros(1250) };
            choose_accelerator(requirements, || &probe)
        };
        let missing_feature = Finding::Unsupported {
            reason: probe::UnsupportedReason::MissingFeature("irqfd".to_owned()),
        };
        let broken = Finding::Broken { cause: "shutdown".to_owned() };
        for (finding, accelerator) in [
            (Finding::Usable, Accelerator::Kvm),
            (missing_feature, Accelerator::Kvm),
            (broken, Accelerator::Tcg),
        ] {
            assert_eq!(choose(&no_extras, finding).0, accelerator);
        }
        let (_, reason) = choose(&no_extras, Finding::Usable);
        assert_eq!(reason, "/dev/kvm runs kernels, tried in 1.2 ms");
        let cpu_model = Requirements { names_cpu_model: true, ..no_extras };
        let (accelerator, _) = choose_accelerator(&cpu_model, || panic!("nothing to probe"));
        assert_eq!(accelerator, Accelerator::Tcg);
        let counting = Requirements { clock_counts_instructions: true, ..no_extras };
        for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
            let offer = offer(&counting, (accelerator, "why".to_owned()));
            assert_eq!(offer.clock, Clock::Instructions);
        }
    }

    #[test]
    fn the_vms_end_follows_from_exit_status_and_stderr_of_qemu() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = ExitStatus::from_raw;
        assert_eq!(end_of_exited_qemu(signal(9), String::new()), VmEnd::Killed(9));
        let stderr = "qemu-system-x86_64: terminating on signal 15 from pid 123 (kill)";
        assert_eq!(end_of_exited_qemu(exit(0), stderr.to_owned()), VmEnd::Killed(15));
        assert_eq!(
            end_of_exited_qemu(exit(1), "no room".to_owned()),
            VmEnd::Failed("no room".to_owned())
        );
        assert_eq!(
            end_of_exited_qemu(exit(1), String::new()),
            VmEnd::Failed("exit status: 1".to_owned())
        );
        let VmEnd::Failed(message) = end_of_exited_qemu(signal(6), "assertion".to_owned()) else {
            panic!()
        };
        assert!(message.contains("signal 6") && message.contains("assertion"));
    }
}
