// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface of all backends: the description of a VM to boot ([`VmSpec`]), the traits that a
//! backend implements ([`Machine`], [`Vm`], [`HostStream`]), and the ways in which a VM ends
//! ([`VmEnd`]).

use std::io::{self, PipeReader};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::poll::PollFd;

/// The way in which a guest's kernel finds its devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceDiscovery {
    /// By the kernel command line.
    #[default]
    CommandLine,
    /// By ACPI only, for kernels without `CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES`, such as those of
    /// distributions.
    Acpi,
}

/// The description of a VM to boot.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// Kernel image of the machine's architecture. x86-64: a vmlinux with a PVH note, or a bzImage;
    /// s390x: a bzImage; other architectures: an Image.
    pub kernel: PathBuf,
    /// An uncompressed or compressed cpio archive.
    pub initramfs: PathBuf,
    /// The way in which the kernel finds its devices.
    pub discovery: DeviceDiscovery,
    /// The caller's boot arguments. The backend puts its own arguments for console, reboot and
    /// devices before them.
    pub cmdline: String,
    /// Frequency of the kernel's timer interrupt in Hz (`CONFIG_HZ`), if it is known.
    pub config_hz: Option<u32>,
    /// Number of vCPUs, 1 to 8.
    pub cpus: u8,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// CPU model, by the backend's name for the model; `None` for the backend's default model.
    pub cpu_model: Option<String>,
    /// CPU vendor, by its name in CPUID. A backend that does not emulate the CPU ignores this
    /// field, and so does every backend if `cpu_model` is given.
    pub cpu_vendor: Option<String>,
    /// Whether each instruction advances the guest's clock by 1 ns, so that deadlines in the guest
    /// do not depend on the host's speed. A backend that does not emulate the CPU ignores this
    /// field.
    pub clock_counts_instructions: bool,
    /// vsock port on which the host listens. The guest connects to this port of CID 2.
    pub vsock_port: u32,
    /// Whether the VM waits for a debugger before its first instruction.
    pub wait_for_gdb: bool,
    /// Whether to trace the operations that the guest marks ([`sudbox_protocol::marks`]). A backend
    /// that cannot trace ignores this field.
    pub trace_marked_operations: bool,
    /// Whether to take a [`Snapshot`] when the guest connects. A backend without snapshots ignores
    /// this field.
    pub take_snapshot: bool,
}

impl VmSpec {
    /// A VM with one vCPU and 256 MiB of memory, and with no boot arguments, models and options.
    #[must_use]
    pub fn new(kernel: impl Into<PathBuf>, initramfs: impl Into<PathBuf>, port: u32) -> VmSpec {
        VmSpec {
            kernel: kernel.into(),
            initramfs: initramfs.into(),
            discovery: DeviceDiscovery::default(),
            cmdline: String::new(),
            config_hz: None,
            cpus: 1,
            memory_mib: 256,
            cpu_model: None,
            cpu_vendor: None,
            clock_counts_instructions: false,
            vsock_port: port,
            wait_for_gdb: false,
            trace_marked_operations: false,
            take_snapshot: false,
        }
    }
}

/// A machine that a backend offers: boots VMs for one architecture with one accelerator. Threads
/// may share the machine.
pub trait Machine: Sync {
    /// Describes the machine in one line for people: the backend and the machine type for
    /// `discovery`, the accelerator, and the reason for the choice.
    fn describe(&self, discovery: DeviceDiscovery) -> String;

    /// Returns a note for the user about the machine, such as a missing protection of the host.
    fn note(&self) -> Option<String> {
        None
    }

    /// Starts a VM and returns as soon as the VM runs, before the kernel has booted.
    /// [`crate::session::Session::boot`] wraps the VM in a session.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    fn boot(&self, spec: &VmSpec) -> Result<RunningVm, BootError>;
}

/// A VM that a backend has started.
pub struct RunningVm {
    /// Watches and stops the VM.
    pub vm: Box<dyn Vm>,
    /// Carries the guest's byte stream.
    pub stream: Box<dyn HostStream>,
    /// The guest's console: the read end of a pipe, non-blocking.
    pub console: PipeReader,
}

/// The part of a running VM that its session watches. The drop of a `Vm` stops the VM and leaves no
/// process, thread or file.
pub trait Vm: Send {
    /// Returns the descriptors that become readable when [`Vm::handle_events`] has an event to
    /// handle.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Handles pending events without waiting. Returns the VM's end if all processes and threads of
    /// the VM have ended, else `None`.
    fn handle_events(&mut self) -> Option<VmEnd>;

    /// Returns the argument of gdb's command `target remote`; `None` if the VM has no gdb stub.
    fn gdb_target(&self) -> Option<&str> {
        None
    }

    /// Returns the snapshot requested by [`VmSpec::take_snapshot`], or the reason why it could not
    /// be taken. `None` if no snapshot was requested, the guest has not connected yet, or the
    /// backend has no snapshots.
    fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        None
    }

    /// Returns the traces requested by [`VmSpec::trace_marked_operations`] so far; empty if the backend does not
    /// trace.
    ///
    /// # Errors
    /// The reason why tracing failed.
    fn marked_operation_traces(&self) -> Result<Vec<MarkedOperationTrace>, String> {
        Ok(Vec::new())
    }

    /// Describes the activity of each vCPU in one line; empty if the backend cannot tell. The
    /// backend may stop the vCPUs for this, so the caller must end the VM after the call.
    fn describe_vcpus_before_end(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// The instructions that the vCPUs executed during one marked operation of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedOperationTrace {
    /// Number of the operation, from the guest.
    pub operation: u64,
    /// The instructions of kernel and program.
    pub instructions: Vec<ExecutedInstruction>,
}

impl MarkedOperationTrace {
    /// Number of executed instructions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.instructions.iter().map(|instruction| instruction.count).sum()
    }
}

/// An instruction that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutedInstruction {
    /// Address of the instruction.
    pub address: u64,
    /// Kind of a slow instruction, such as `atomic` or `iret`; `None` for all other instructions.
    pub kind: Option<&'static str>,
    /// Number of executions.
    pub count: u64,
}

/// The host's end of the byte stream between host and guest. No method waits.
pub trait HostStream: Send {
    /// Returns true if the guest has connected. The session does not call this method again after
    /// `true`, because the stream is only the guest's first connection.
    ///
    /// # Errors
    /// If the transport fails, which is a fault of this machine.
    fn accept(&mut self) -> io::Result<bool>;

    /// Reads bytes that the guest has sent, as [`io::Read::read`] does: 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if no bytes are available now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes bytes for the guest, as [`io::Write::write`] does. Returns the number of written
    /// bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if there is no room for a byte at the moment,
    /// [`io::ErrorKind::BrokenPipe`] if the guest can no longer read the bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The event to wait for until [`HostStream::accept`] or [`HostStream::read`] may succeed.
    fn read_event(&self) -> PollFd<'_>;

    /// The event to wait for until [`HostStream::write`] may succeed.
    fn write_event(&self) -> PollFd<'_>;

    /// Fetches the bytes that the guest sent before its VM ended, so that [`HostStream::read`]
    /// returns them.
    fn drain(&mut self) {}

    /// Returns true if the backend knows that the guest has not read all bytes that the host wrote.
    fn has_unread_bytes(&self) -> bool {
        false
    }
}

/// The state of a VM at the moment when its guest connected. Any number of VMs can be resumed from
/// a snapshot, also concurrently. The VMs share the snapshot's memory copy-on-write and do not
/// change the snapshot.
#[derive(Clone)]
pub struct Snapshot(Arc<dyn BackendSnapshot>);

/// A snapshot in the form that one backend stores.
pub trait BackendSnapshot: Send + Sync {
    /// Starts a VM in the state of the snapshot, with the host listening on the same port.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    fn resume(&self) -> Result<RunningVm, BootError>;
}

impl Snapshot {
    /// Wraps the snapshot of a backend.
    #[must_use]
    pub fn new(snapshot: Arc<dyn BackendSnapshot>) -> Snapshot {
        Snapshot(snapshot)
    }

    /// Starts a VM in the state of the snapshot. [`crate::session::Session::resume`] wraps the VM
    /// in a session.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    pub fn resume(&self) -> Result<RunningVm, BootError> {
        self.0.resume()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

/// Reason why a VM did not start. The cause is never the guest's kernel.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The program that the backend runs is not installed.
    #[error("{program} is not installed")]
    MissingProgram {
        /// Name of the program.
        program: String,
    },
    /// The backend has no processor of the model that was asked for.
    #[error("{backend} has no CPU model `{model}`")]
    UnknownCpuModel {
        /// Name of the backend.
        backend: String,
        /// The model.
        model: String,
    },
    /// The backend refused to start.
    #[error("{backend} did not start: {message}")]
    Refused {
        /// Name of the backend.
        backend: String,
        /// The reason; if the backend is a program, its stderr.
        message: String,
    },
    /// A system call of this process failed.
    #[error("cannot {action}: {source}")]
    System {
        /// The failed action, worded to follow "cannot" in the message.
        action: &'static str,
        /// Cause of the failure.
        source: io::Error,
    },
}

/// The end of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEnd {
    /// The guest asked for a restart and had not panicked.
    Restart,
    /// The kernel panicked. The text is its panic message.
    Panic(String),
    /// A triple fault: the processor could not call the handler of a double fault. The text lists
    /// the registers.
    TripleFault(String),
    /// KVM could not continue to run the vCPU: KVM could not emulate an instruction, or the
    /// processor rejected the state (`KVM_EXIT_INTERNAL_ERROR`, `KVM_EXIT_FAIL_ENTRY`). For
    /// example, the guest jumped to an address without memory.
    VcpuError {
        /// Description of the exit in one line.
        why: String,
        /// The registers as text.
        registers: String,
    },
    /// The host stopped the VM.
    Stopped,
    /// A signal with this number, sent from outside, killed the backend's process.
    Killed(i32),
    /// The backend failed with this message.
    Failed(String),
}
