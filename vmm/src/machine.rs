//! What can be booted, on what, and how it can end.

use std::path::PathBuf;
use std::sync::Arc;

/// Architecture of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// RISC-V, 64 bits.
    Riscv64,
    /// ARM, 64 bits.
    Aarch64,
    /// IBM Z, 64 bits.
    S390x,
}

impl Arch {
    /// That of this machine's processor, if it is one of them.
    #[must_use]
    pub fn host() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::X86_64),
            "riscv64" => Some(Arch::Riscv64),
            "aarch64" => Some(Arch::Aarch64),
            "s390x" => Some(Arch::S390x),
            _ => None,
        }
    }
}

/// How a guest's kernel finds its devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// It is told on the command line.
    #[default]
    CommandLine,
    /// By ACPI alone, as the kernels of distributions do.
    Acpi,
}

/// A VM to boot.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// On x86-64 a vmlinux with a PVH note or a bzImage, on s390x a bzImage of its own, elsewhere an
    /// Image; of the machine's architecture.
    pub kernel: PathBuf,
    /// An uncompressed or compressed cpio archive.
    pub initramfs: PathBuf,
    /// How the kernel finds its devices.
    pub discovery: Discovery,
    /// Boot arguments of the caller; the machine puts its own (console, reboot, devices) in front.
    pub cmdline: String,
    /// Number of vCPUs, 1 to 8.
    pub cpus: u8,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// CPU model in the backend's words; its default if `None`.
    pub cpu_model: Option<String>,
    /// vsock port at which the host listens on CID 2.
    pub port: u32,
    /// Wait for a debugger before the first instruction.
    pub gdb: bool,
    /// Keep the VM as it is when its guest dials, for [`crate::session::Session::kept`]; a backend
    /// that cannot boots as if this were not set.
    pub keep: bool,
}

/// A backend: takes a [`VmSpec`] to a running VM. Threads may share it, each with VMs of its own.
pub trait Machine: Sync {
    /// One line for people: the backend as it suits such a kernel, what it runs on and why that was
    /// chosen.
    fn describe(&self, discovery: Discovery) -> String;

    /// Starts the VM. Returns as soon as it runs; whether the kernel comes up is seen in the
    /// session.
    ///
    /// # Errors
    /// [`BootError`] if the machine could not be started at all.
    fn boot(&self, spec: &VmSpec) -> Result<crate::session::Session, BootError>;
}

/// A VM at the moment when its guest dialled. Any number of VMs can begin as it, one after the
/// other or side by side, and none of them changes it. Its memory is shared by all, copied where it
/// is written.
#[derive(Clone)]
pub struct Kept(Arc<dyn Resume>);

/// What a backend can make a VM of.
pub(crate) trait Resume: Send + Sync {
    /// Starts a VM that begins as this one.
    fn resume(&self) -> Result<crate::session::Session, BootError>;
}

impl Kept {
    pub(crate) fn new(kept: Arc<dyn Resume>) -> Kept {
        Kept(kept)
    }

    /// Starts a VM that begins as this one, with the host listening at the same port.
    ///
    /// # Errors
    /// [`BootError`] if the machine could not be started.
    pub fn resume(&self) -> Result<crate::session::Session, BootError> {
        self.0.resume()
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// Why a VM did not start: the fault of this machine, never of the kernel.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A program that is needed is not installed.
    #[error("{program} is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The backend refused to start; its own words.
    #[error("{backend} did not start: {words}")]
    Refused {
        /// Which backend.
        backend: String,
        /// Its own words, as it wrote them to stderr.
        words: String,
    },
    /// A system call of ours failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// How a VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEnd {
    /// The guest asked for a restart and had not panicked.
    Restart,
    /// The kernel panicked; the line that says so.
    Panic(String),
    /// Triple fault: a fault in the fault handlers. The registers, as the backend prints them.
    TripleFault(String),
    /// KVM cannot go on with the guest: an instruction that it cannot emulate, a state that the
    /// processor does not enter (`KVM_EXIT_INTERNAL_ERROR`, `KVM_EXIT_FAIL_ENTRY`). What it says, and
    /// the registers. A guest that jumps to where no memory is gets there.
    CannotGoOn {
        /// One line.
        why: String,
        /// As the backend prints them.
        registers: String,
    },
    /// The host stopped it.
    Stopped,
    /// The backend's process was killed by this signal from outside.
    Killed(i32),
    /// The backend gave up by itself; its own words.
    Failed(String),
}
