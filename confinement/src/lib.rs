// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Takes the rights from a child process that it does not need, without privileges: Landlock, a seccomp
//! filter and resource limits. README.md has the design and its limits.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

/// Newest Landlock version whose rights are used (Linux 6.12).
const LANDLOCK_ABI: ABI = ABI::V6;

/// `__X32_SYSCALL_BIT` of x32's system call numbers (arch/x86/include/asm/unistd.h).
const X32_BIT: i64 = 0x4000_0000;

/// Files that a confined process can access. Paths that do not exist are skipped.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Files and folders to read and execute.
    pub readable: Vec<PathBuf>,
    /// Files and folders to read, execute and write.
    pub writable: Vec<PathBuf>,
}

/// System calls that fail, by their numbers. A call fails if one of its rules matches, or if it has no
/// rules.
pub type RefusedCalls = BTreeMap<i64, Vec<SeccompRule>>;

/// A Landlock ruleset and a seccomp filter, prepared before fork.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// `None` if the host's kernel has no Landlock.
    ruleset: Option<Arc<OwnedFd>>,
    /// `None` on architectures that seccompiler does not support.
    filter: Option<Arc<BpfProgram>>,
}

impl Confinement {
    /// Prepares a confinement to these files, without TCP and without signals to processes outside.
    /// The refused calls fail with the error number `errno`, also by their numbers of x32.
    ///
    /// # Errors
    /// If a Landlock rule cannot be added or the filter cannot be compiled.
    pub fn new(files: &Files, refused: RefusedCalls, errno: i32) -> io::Result<Confinement> {
        Ok(Confinement {
            ruleset: landlock_ruleset(files).map_err(io::Error::other)?.map(Arc::new),
            filter: filter(refused, errno).map_err(io::Error::other)?.map(Arc::new),
        })
    }

    /// Whether Landlock is part of the confinement.
    #[must_use]
    pub fn has_landlock(&self) -> bool {
        self.ruleset.is_some()
    }

    /// Whether a seccomp filter is part of the confinement.
    #[must_use]
    pub fn has_filter(&self) -> bool {
        self.filter.is_some()
    }

    /// Confines the calling thread, and the program that it executes, permanently. Makes system calls
    /// only, for use between fork and exec.
    ///
    /// # Errors
    /// If the kernel refuses a measure.
    pub fn enter(&self) -> io::Result<()> {
        // SAFETY: takes no pointers.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
        if let Some(ruleset) = &self.ruleset {
            // SAFETY: takes no pointers.
            check(unsafe {
                libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0)
            })?;
        }
        match &self.filter {
            Some(filter) => seccompiler::apply_filter(filter)
                .map_err(|_| io::Error::from_raw_os_error(libc::EPERM)),
            None => Ok(()),
        }
    }
}

/// The version of the host's Landlock; negative without Landlock (landlock_create_ruleset(2)).
#[must_use]
pub fn landlock_version() -> i64 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let no_attributes = std::ptr::null::<u8>();
    // SAFETY: with this flag the call reads no memory.
    unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            no_attributes,
            0usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    }
}

/// Sets a resource limit, unless a lower one is set already. Makes system calls only.
///
/// # Errors
/// As getrlimit(2) and setrlimit(2).
pub fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes the structure.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) }.into())?;
    limit.rlim_cur = limit.rlim_cur.min(value);
    limit.rlim_max = limit.rlim_max.min(value);
    // SAFETY: the call reads the structure.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())
}

/// The path of an executable: of a file in `PATH`, or of the file itself if the name has a `/`.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(
        |path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        },
    )
}

/// The result of a system call that returns a negative number if it fails.
fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn landlock_ruleset(files: &Files) -> Result<Option<OwnedFd>, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?;
    let rules = [
        (&files.readable, AccessFs::from_read(LANDLOCK_ABI)),
        (&files.writable, AccessFs::from_all(LANDLOCK_ABI)),
    ];
    for (paths, access) in rules {
        for path in paths {
            let Ok(file) = PathFd::new(path) else { continue };
            let access: BitFlags<AccessFs> =
                if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) };
            ruleset = ruleset.add_rule(PathBeneath::new(file, access))?;
        }
    }
    Ok(ruleset.into())
}

fn filter(
    refused: RefusedCalls,
    errno: i32,
) -> Result<Option<BpfProgram>, seccompiler::BackendError> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(None) };
    let rules = refused
        .iter()
        .map(|(number, rules)| (number | X32_BIT, rules.clone()))
        .chain(refused.clone());
    let errno = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules.collect(), SeccompAction::Allow, errno, target)?;
    filter.try_into().map(Some)
}
