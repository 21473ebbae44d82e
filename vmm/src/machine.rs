// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The interface between a backend and everything else: what is booted ([`VmSpec`]), what a backend
//! implements ([`Machine`], [`Vm`], [`HostStream`]), and how a VM ends ([`VmEnd`]).

use std::io::{self, PipeReader};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::poll::PollFd;

/// The way in which a guest's kernel finds its devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// By the kernel command line.
    #[default]
    CommandLine,
    /// Only by ACPI, like distributions' kernels.
    Acpi,
}

/// A VM to boot.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// Kernel image of the machine's architecture. x86-64: a vmlinux with a PVH note, or a bzImage;
    /// s390x: the bzImage of that architecture; elsewhere an Image.
    pub kernel: PathBuf,
    /// An uncompressed or compressed cpio archive.
    pub initramfs: PathBuf,
    /// The way in which the kernel finds its devices.
    pub discovery: Discovery,
    /// The caller's boot arguments. The backend puts its own before them (console, reboot, devices).
    pub cmdline: String,
    /// Frequency of the kernel's timer interrupt in Hz (`CONFIG_HZ`), if it is known.
    pub timer_hz: Option<u32>,
    /// Number of vCPUs, 1 to 8.
    pub cpus: u8,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// CPU model by the backend's name for it; the backend's default if `None`.
    pub cpu_model: Option<String>,
    /// CPU vendor, by its name in CPUID, where the backend emulates the CPU and no model is given.
    pub cpu_vendor: Option<String>,
    /// vsock port on which the host listens. The guest reaches it at CID 2.
    pub port: u32,
    /// Wait for a debugger before the first instruction.
    pub gdb: bool,
    /// Take a [`Snapshot`] when the guest connects. A backend without snapshots ignores this.
    pub snapshot: bool,
}

/// A backend: boots VMs of one kind. Threads may share it.
pub trait Machine: Sync {
    /// Describes the machine in one line for people: the backend and the machine type for `discovery`, the
    /// accelerator, and the reason for the choice.
    fn describe(&self, discovery: Discovery) -> String;

    /// Starts a VM and returns as soon as it runs, before the kernel has booted.
    /// [`crate::session::Session::boot`] turns it into a session.
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

/// A VM as its session sees it. Dropping it stops the VM and leaves no process, thread or file.
pub trait Vm: Send {
    /// The descriptors whose readability means that [`Vm::advance`] has work.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;

    /// Handles pending events without waiting. Returns how the VM ended, once all its processes and
    /// threads have ended.
    fn advance(&mut self) -> Option<VmEnd>;

    /// Returns the argument of gdb's `target remote`, if the VM has a gdb stub.
    fn debugger(&self) -> Option<&str> {
        None
    }

    /// Returns the snapshot requested by [`VmSpec::snapshot`], or why it could not be taken. `None` if
    /// none was requested, the guest has not connected yet, or the backend has no snapshots.
    fn snapshot(&self) -> Option<Result<Snapshot, String>> {
        None
    }

    /// Describes what each vCPU is doing, one line for each; empty if the backend cannot tell.
    fn vcpu_states(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// The host's end of the byte stream between host and guest. No method waits.
pub trait HostStream: Send {
    /// Returns true if the guest has connected. It is not called again after that: the stream is the
    /// guest's first connection only.
    ///
    /// # Errors
    /// If the transport fails, which is a fault of this machine.
    fn accept(&mut self) -> io::Result<bool>;

    /// Reads bytes that the guest has sent, as [`io::Read::read`] does: 0 at the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if no bytes are available now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes bytes for the guest, as [`io::Write::write`] does.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if no byte can be taken at the moment,
    /// [`io::ErrorKind::BrokenPipe`] if the guest cannot get them any more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The event to wait for until [`HostStream::accept`] or [`HostStream::read`] may succeed.
    fn readable(&self) -> PollFd<'_>;

    /// The event to wait for until [`HostStream::write`] may succeed.
    fn writable(&self) -> PollFd<'_>;

    /// Fetches bytes that the guest had sent before its VM ended, so that [`HostStream::read`] returns
    /// them.
    fn drain(&mut self) {}

    /// Returns true if it is known that the guest has not read all bytes that were written to it.
    fn has_unread(&self) -> bool {
        false
    }
}

/// The state of a VM at the moment when its guest connected. Any number of VMs can be resumed from it, also
/// concurrently. They share its memory copy-on-write, and do not change the snapshot.
#[derive(Clone)]
pub struct Snapshot(Arc<dyn Resume>);

/// A backend's snapshot.
pub trait Resume: Send + Sync {
    /// Starts a VM in the state of the snapshot, with the host listening on the same port.
    ///
    /// # Errors
    /// [`BootError`] if the VM could not be started.
    fn resume(&self) -> Result<RunningVm, BootError>;
}

impl Snapshot {
    /// Wraps the snapshot of a backend.
    #[must_use]
    pub fn new(snapshot: Arc<dyn Resume>) -> Snapshot {
        Snapshot(snapshot)
    }

    /// Starts a VM in the state of the snapshot. [`crate::session::Session::resume`] makes a session
    /// of it.
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

/// Error: a VM did not start. The kernel is never at fault.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A program that the backend runs is not installed.
    #[error("{program} is not installed")]
    Missing {
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
    #[error("cannot {what}: {source}")]
    System {
        /// The failed action, after "cannot" in the message.
        what: &'static str,
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
    /// A triple fault: a fault while the double fault handler was called. The text has the registers.
    TripleFault(String),
    /// KVM could not continue to run the vCPU: it could not emulate an instruction, or the processor
    /// rejected the state (`KVM_EXIT_INTERNAL_ERROR`, `KVM_EXIT_FAIL_ENTRY`). For example, the guest
    /// jumped to an address without memory.
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
