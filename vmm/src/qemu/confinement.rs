// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Confines the QEMU process, because a guest may take QEMU over. No measure needs a privilege:
//!
//! - Landlock (Linux 5.13): QEMU reads and executes its own program, libraries and firmware, reads the
//!   kernel and the initramfs, and writes to the debugger's folder, if there is one. It reaches no
//!   other file, no TCP port (Linux 6.7), and no abstract socket and process outside (Linux 6.12).
//! - A seccomp filter, in addition to QEMU's own (`-sandbox`): no connections, no signals to other
//!   processes, no access to their memory, no changes of files' owners and modes.
//! - An empty environment, no capabilities that a privileged QEMU does not need, and limits of the
//!   size of files and of core dumps.

use std::io;
use std::path::{Path, PathBuf};

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use sudbox_confinement::{Confinement, Files, RefusedCalls, landlock_version, limit};

use super::command::Accelerator;

/// Folders of libraries and firmware.
const SYSTEM_FOLDERS: &[&str] =
    &["/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store"];

/// Folders and files with facts about this machine that QEMU and its libraries read.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/sys/devices/system",
];

/// Folders of an installation, relative to the folder of the program. `pc-bios` is the firmware's in
/// QEMU's source, beside the folder of a build.
const PROGRAM_FOLDERS: &[&str] =
    &["", "../share", "../lib", "../lib64", "../libexec", "../pc-bios"];

/// Devices that QEMU may read and write.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// Size in bytes of the files that QEMU may write in addition to the guest's memory, whose file
/// counts as well.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Capabilities that a privileged QEMU keeps, for files of other users: `CAP_DAC_OVERRIDE` and
/// `CAP_DAC_READ_SEARCH` (include/uapi/linux/capability.h).
const KEPT_CAPABILITIES: [u64; 2] = [1, 2];

/// Greater than the number of every capability.
const CAPABILITY_LIMIT: u64 = 64;

/// System calls that QEMU never makes here and that reach other processes or outlive QEMU. They fail
/// with EPERM, as in containers.
const REFUSED_SYSCALLS: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_socketpair,
    libc::SYS_io_uring_setup,
    libc::SYS_kill,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
];

/// The files that QEMU needs for one VM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs<'a> {
    /// Absolute path of the program.
    pub(super) program: &'a Path,
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) accelerator: Accelerator,
    pub(super) memory_mib: u32,
    /// Folder of the gdb stub's socket and of QEMU's log.
    pub(super) debugger_folder: Option<&'a Path>,
    /// Whether QEMU writes a log, whose size depends on the guest.
    pub(super) has_log: bool,
}

/// The measures for a QEMU process, prepared before fork.
#[derive(Debug)]
pub(super) struct QemuConfinement {
    confinement: Confinement,
    /// Maximum size in bytes of a file that QEMU writes; `None` if it has no limit.
    max_file_size: Option<u64>,
}

impl QemuConfinement {
    /// Prepares the measures for a VM.
    ///
    /// # Errors
    /// If a rule cannot be added.
    pub(super) fn new(needs: &Needs<'_>) -> io::Result<QemuConfinement> {
        let refused = refused_calls(needs.debugger_folder.is_some()).map_err(io::Error::other)?;
        Ok(QemuConfinement {
            confinement: Confinement::new(&files(needs), refused, libc::EPERM)?,
            max_file_size: (!needs.has_log)
                .then(|| (u64::from(needs.memory_mib) << 20) + MAX_FILE_SIZE),
        })
    }

    /// Confines the calling process permanently. Makes system calls only, for use between fork and
    /// exec.
    ///
    /// # Errors
    /// If the kernel refuses a measure.
    pub(super) fn enter(&self) -> io::Result<()> {
        limit(libc::RLIMIT_CORE, 0)?;
        if let Some(size) = self.max_file_size {
            limit(libc::RLIMIT_FSIZE, size)?;
        }
        drop_capabilities();
        self.confinement.enter()
    }
}

/// The measure that this machine lacks, as a note for the user; `None` if it lacks none.
pub(super) fn missing_measure() -> Option<String> {
    (landlock_version() < 1).then(|| {
        "QEMU is confined by seccomp filters only, so a guest that takes it over can read and write \
         this user's files: the kernel of this machine has no Landlock (Linux 5.13)"
            .to_owned()
    })
}

/// The files that QEMU accesses.
fn files(needs: &Needs<'_>) -> Files {
    let mut readable: Vec<PathBuf> =
        SYSTEM_FOLDERS.iter().chain(SYSTEM_FILES).map(PathBuf::from).collect();
    // The program may be a symbolic link into its installation.
    let real_program = needs.program.canonicalize().ok();
    for program in [Some(needs.program), real_program.as_deref()].into_iter().flatten() {
        let folder = program.parent().unwrap_or(Path::new("/"));
        readable.extend(PROGRAM_FOLDERS.iter().map(|name| folder.join(name)));
    }
    // Homebrew puts the libraries of a program into other folders of its prefix.
    readable.extend(std::env::var_os("HOMEBREW_PREFIX").map(PathBuf::from));
    readable.extend([needs.kernel.to_owned(), needs.initramfs.to_owned()]);
    let mut writable: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    if needs.accelerator == Accelerator::Kvm {
        writable.push("/dev/kvm".into());
    }
    writable.extend(needs.debugger_folder.map(Path::to_owned));
    Files { readable, writable }
}

/// The system calls that fail. The gdb stub listens on a socket; without it QEMU makes no sockets.
fn refused_calls(has_gdb_stub: bool) -> Result<RefusedCalls, BackendError> {
    let mut refused: RefusedCalls =
        REFUSED_SYSCALLS.iter().map(|number| (*number, Vec::new())).collect();
    let socket_rules = if has_gdb_stub { rules_against_other_sockets()? } else { Vec::new() };
    refused.insert(libc::SYS_socket, socket_rules);
    Ok(refused)
}

/// The rules that match every socket but a stream socket of the local machine.
fn rules_against_other_sockets() -> Result<Vec<SeccompRule>, BackendError> {
    /// `SOCK_TYPE_MASK` (include/linux/net.h).
    const TYPE_MASK: u64 = 0xf;
    let unix = u64::from(libc::AF_UNIX.cast_unsigned());
    let is_other_family =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, unix)?;
    let mut rules = vec![SeccompRule::new(vec![is_other_family])?];
    let stream = u64::from(libc::SOCK_STREAM.cast_unsigned());
    for kind in (0..=TYPE_MASK).filter(|kind| *kind != stream) {
        let is_kind = SeccompCmpOp::MaskedEq(TYPE_MASK);
        let is_kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, is_kind, kind)?;
        rules.push(SeccompRule::new(vec![is_kind])?);
    }
    Ok(rules)
}

/// Drops the capabilities that QEMU does not need from those that exec gives to root. Without
/// privileges the calls fail, and there is nothing to drop.
fn drop_capabilities() {
    for capability in (0..CAPABILITY_LIMIT).filter(|number| !KEPT_CAPABILITIES.contains(number)) {
        // SAFETY: the operation takes no pointers.
        let _ = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0u64, 0u64, 0u64) };
    }
}

#[cfg(test)]
mod tests;
