//! What can be booted, on what, and how it can end.

use std::path::PathBuf;

/// Architecture of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
}

/// A VM to boot.
#[derive(Clone, Debug)]
pub struct VmSpec {
    /// Architecture of the kernel.
    pub arch: Arch,
    /// A vmlinux with a PVH note or a bzImage.
    pub kernel: PathBuf,
    /// An uncompressed or compressed cpio archive.
    pub initramfs: PathBuf,
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
}

/// A backend: takes a [`VmSpec`] to a running VM.
pub trait Machine {
    /// One line for people: the backend, what it runs on and why that was chosen.
    fn describe(&self) -> String;

    /// Starts the VM. Returns as soon as it runs; whether the kernel comes up is seen in the
    /// session.
    ///
    /// # Errors
    /// [`BootError`] if the machine could not be started at all.
    fn boot(&self, spec: &VmSpec) -> Result<crate::session::Session, BootError>;
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
    /// The host stopped it.
    Stopped,
    /// The backend's process was killed by this signal from outside.
    Killed(i32),
    /// The backend gave up by itself; its own words.
    Failed(String),
}
