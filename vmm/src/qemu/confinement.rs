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

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::command::Accelerator;

/// Newest Landlock version whose rights are used (Linux 6.12).
const LANDLOCK_ABI: ABI = ABI::V6;

/// Folders of libraries and firmware.
const SYSTEM_FOLDERS: &[&str] = &[
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/home/linuxbrew/.linuxbrew",
];

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

/// `__X32_SYSCALL_BIT` of x32's system call numbers (arch/x86/include/uapi/asm/unistd.h).
const X32_BIT: i64 = 0x4000_0000;

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

/// The measures, prepared before fork.
#[derive(Debug)]
pub(super) struct Confinement {
    /// Landlock's ruleset; `None` if the host's kernel has no Landlock.
    ruleset: Option<OwnedFd>,
    /// The seccomp filter; `None` on architectures that seccompiler does not support.
    filter: Option<BpfProgram>,
    /// Maximum size in bytes of a file that QEMU writes.
    max_file_size: Option<u64>,
}

impl Confinement {
    /// Prepares the measures for a VM.
    ///
    /// # Errors
    /// If a rule cannot be added.
    pub(super) fn new(needs: &Needs<'_>) -> io::Result<Confinement> {
        Ok(Confinement {
            ruleset: landlock_ruleset(needs).map_err(io::Error::other)?,
            filter: filter(needs.debugger_folder.is_some()).map_err(io::Error::other)?,
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
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
        if let Some(ruleset) = &self.ruleset {
            // SAFETY: takes no pointers.
            let result =
                unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if let Some(filter) = &self.filter {
            seccompiler::apply_filter(filter)
                .map_err(|_| io::Error::from_raw_os_error(libc::EPERM))?;
        }
        Ok(())
    }
}

/// The measure that this machine lacks, as a note for the user; `None` if it lacks none.
pub(super) fn missing_measure() -> Option<String> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call reads no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    (version < 1).then(|| {
        "QEMU is confined by seccomp filters only, so a guest that takes it over can read and write \
         this user's files: the kernel of this machine has no Landlock (Linux 5.13)"
            .to_owned()
    })
}

/// Returns the absolute path of a program in `PATH`, or a path with `/` itself.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] if there is no such program.
pub(super) fn find_program(name: &str) -> io::Result<PathBuf> {
    if name.contains('/') {
        return std::path::absolute(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|folder| std::path::absolute(folder.join(name)).ok())
        .find(|candidate| {
            rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
                && candidate.is_file()
        })
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Creates the Landlock ruleset. Skips paths that do not exist. Returns `None` if the host's kernel
/// has no Landlock.
fn landlock_ruleset(needs: &Needs<'_>) -> Result<Option<OwnedFd>, RulesetError> {
    let mut readable: Vec<PathBuf> =
        SYSTEM_FOLDERS.iter().chain(SYSTEM_FILES).map(PathBuf::from).collect();
    // The program may be a symbolic link into its installation.
    let real_program = needs.program.canonicalize().ok();
    for program in [Some(needs.program), real_program.as_deref()].into_iter().flatten() {
        let folder = program.parent().unwrap_or(Path::new("/"));
        readable.extend(PROGRAM_FOLDERS.iter().map(|name| folder.join(name)));
    }
    readable.extend([needs.kernel.to_owned(), needs.initramfs.to_owned()]);
    let mut writable: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    if needs.accelerator == Accelerator::Kvm {
        writable.push("/dev/kvm".into());
    }
    writable.extend(needs.debugger_folder.map(Path::to_owned));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?;
    let rules = [
        (readable, AccessFs::from_read(LANDLOCK_ABI)),
        (writable, AccessFs::from_all(LANDLOCK_ABI)),
    ];
    for (paths, access) in rules {
        for path in paths {
            let Ok(file) = PathFd::new(&path) else { continue };
            let access: BitFlags<AccessFs> =
                if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) };
            ruleset = ruleset.add_rule(PathBeneath::new(file, access))?;
        }
    }
    Ok(ruleset.into())
}

/// Compiles the seccomp filter. The gdb stub listens on a socket; without it QEMU makes no sockets.
/// Returns `None` on architectures that seccompiler does not support.
fn filter(has_gdb_stub: bool) -> Result<Option<BpfProgram>, BackendError> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(None) };
    let numbers = |number: i64| [number, number | X32_BIT];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED_SYSCALLS.iter().flat_map(|number| numbers(*number)).map(|n| (n, vec![])).collect();
    let socket_rules = if has_gdb_stub { rules_against_other_sockets()? } else { vec![] };
    for number in numbers(libc::SYS_socket) {
        rules.insert(number, socket_rules.clone());
    }
    let errno = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, target)?;
    filter.try_into().map(Some)
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
        let _ = prctl(libc::PR_CAPBSET_DROP, capability);
    }
}

fn prctl(operation: i32, value: u64) -> io::Result<()> {
    // SAFETY: the operations used here take no pointers.
    match unsafe { libc::prctl(operation, value, 0u64, 0u64, 0u64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets a resource limit, unless a lower one is set already.
fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    // SAFETY: the calls read and write the structure.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_cur.min(value);
        limit.rlim_max = limit.rlim_max.min(value);
        if libc::setrlimit(resource, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
