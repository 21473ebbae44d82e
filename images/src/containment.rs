// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Contains a kernel build, because a tree's Makefiles and scripts run on the host. No measure needs
//! a privilege. A measure that the host's kernel does not allow is left out:
//!
//! - Landlock: the build reads the source, the system's programs and the compiler, and writes to its
//!   slot and to ccache's folder. The build can access no other file, and signal no process outside.
//! - Namespaces: the build has no network, and all its processes end when the build ends.
//! - seccomp: the build cannot create sockets.
//! - Limits of the size of files, of memory, and, for users other than root, of the number of
//!   processes.

mod namespaces;

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sudbox_confinement::{Confinement, Files, find_program, landlock_version, limit};

use crate::command;
use crate::file_owner::Owner;
use crate::folder::Folder;
use crate::toolchain::Toolchain;
use namespaces::Namespaces;

/// Time between SIGTERM and SIGKILL to processes, in which make removes half-written targets. Whole seconds.
pub(crate) const KILL_DELAY: Duration = Duration::from_secs(3);

/// Folders of programs, libraries and compilers that a build may read.
const SYSTEM_FOLDERS: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/gnu", "/proc",
];

/// Files and folders of /etc that compilers, make, shells and scripts read. Other files of /etc may
/// hold secrets.
const SYSTEM_SETTINGS: &[&str] = &[
    "alternatives",
    "ccache.conf",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "perl",
    "pki/tls/openssl.cnf",
    "ssl/openssl.cnf",
];

/// Devices that a build may read and write.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Programs of a build that may be outside [`SYSTEM_FOLDERS`], beside the compiler.
const PROGRAMS: &[&str] = &[
    "ccache", "make", "gcc", "ld", "flex", "bison", "bc", "cmp", "sh", "bash", "awk", "sed",
    "perl", "python3",
];

/// The folder in a slot for temporary files of the build.
const TEMPORARY_FOLDER: &str = "tmp";

/// Maximum size in bytes of a file that a build writes.
const MAX_FILE_SIZE: u64 = 8 << 30;

/// Maximum size in bytes of the memory of one process of a build.
const MAX_MEMORY: u64 = 16 << 30;

/// Maximum number of processes of a build in a user namespace. The kernel does not limit the
/// processes of root.
const MAX_PROCESSES: u64 = 4096;

/// Landlock version from which on Landlock restricts the truncation of files (Linux 6.2).
const LANDLOCK_WITH_TRUNCATION: i64 = 3;

/// System calls that a build cannot make: the creation of sockets, also by io_uring. socketpair(2) is
/// allowed.
const REFUSED_SYSCALLS: [i64; 2] = [libc::SYS_socket, libc::SYS_io_uring_setup];

/// The measures that contain a child process. The default contains nothing.
#[derive(Debug, Default)]
pub(crate) struct Containment {
    measures: Option<Measures>,
    /// Variables for the child's environment.
    variables: Vec<(&'static str, PathBuf)>,
}

/// The measures besides resource limits.
#[derive(Debug, Clone)]
struct Measures {
    namespaces: Namespaces,
    confinement: Confinement,
}

impl Containment {
    /// The containment of a build of the tree `src` in the slot `slot`.
    ///
    /// # Errors
    /// If a folder cannot be made, or a rule cannot be added.
    pub(crate) fn for_build(
        src: &Path,
        slot: &Folder,
        toolchain: &Toolchain,
        owner: Owner,
    ) -> io::Result<Containment> {
        let mut readable: Vec<PathBuf> = SYSTEM_FOLDERS.iter().map(PathBuf::from).collect();
        readable.extend(SYSTEM_SETTINGS.iter().map(|name| Path::new("/etc").join(name)));
        readable.push(src.to_owned());
        readable.extend(compiler_folders(toolchain));
        slot.create_folder(TEMPORARY_FOLDER)?;
        let mut writable = vec![slot.path().to_owned()];
        writable.extend(DEVICES.iter().map(PathBuf::from));
        let mut variables = vec![("TMPDIR", slot.path().join(TEMPORARY_FOLDER))];
        if let Some(ccache) = Ccache::find(owner) {
            for folder in ccache.shared.into_iter().chain([ccache.folder.clone()]) {
                std::fs::create_dir_all(&folder)?;
                writable.push(folder);
            }
            variables.push(("CCACHE_TEMPDIR", ccache.folder.join("tmp")));
            variables.push(("CCACHE_DIR", ccache.folder));
            readable.extend(ccache.settings);
        }
        let refused = REFUSED_SYSCALLS.into_iter().map(|number| (number, Vec::new())).collect();
        let files = Files { readable, writable };
        let measures = Measures {
            namespaces: Namespaces::available(),
            confinement: Confinement::new(&files, refused, libc::EACCES)?,
        };
        Ok(Containment { measures: Some(measures), variables })
    }

    /// The names of measures that this machine lacks.
    pub(crate) fn missing_measures(&self) -> Vec<&'static str> {
        let Some(measures) = &self.measures else { return Vec::new() };
        let has_landlock = measures.confinement.has_landlock();
        [
            (!has_landlock, "Landlock"),
            (
                has_landlock && landlock_version() < LANDLOCK_WITH_TRUNCATION,
                "Landlock against truncating files (Linux 6.2)",
            ),
            (measures.namespaces == Namespaces::None, "namespaces for processes and network"),
            (!measures.confinement.has_filter(), "seccomp filter"),
        ]
        .into_iter()
        .filter_map(|(is_missing, name)| is_missing.then_some(name))
        .collect()
    }

    /// Adds the measures to a command. Call this method after every other `pre_exec`, because the
    /// measures fork: the program runs in a child of the process that [`Command::spawn`] starts.
    pub(crate) fn add_to(&self, command: &mut Command) {
        let Some(measures) = self.measures.clone() else { return };
        command.envs(self.variables.iter().map(|(name, path)| (name, path)));
        let contain = move || -> io::Result<()> {
            limit(libc::RLIMIT_FSIZE, MAX_FILE_SIZE)?;
            limit(libc::RLIMIT_AS, MAX_MEMORY)?;
            limit(libc::RLIMIT_CORE, 0)?;
            measures.namespaces.enter()?;
            if measures.namespaces == Namespaces::WithUser {
                limit(libc::RLIMIT_NPROC, MAX_PROCESSES)?;
            }
            measures.confinement.enter()
        };
        // SAFETY: between fork and exec the closure makes system calls and allocates nothing.
        unsafe { command.pre_exec(contain) };
    }
}

/// The folders with the toolchain's programs that are outside [`SYSTEM_FOLDERS`], such as
/// `~/x-tools/aarch64-linux` for `~/x-tools/aarch64-linux/bin/aarch64-linux-gcc`.
fn compiler_folders(toolchain: &Toolchain) -> Vec<PathBuf> {
    let compiler = toolchain.compiler();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let programs = PROGRAMS.iter().copied().chain(compiler.split_whitespace());
    let mut folders: Vec<PathBuf> = programs
        .filter_map(find_program)
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| !SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder)))
        .filter_map(|path| Some(installation_folder(path.parent()?, home.as_deref()).to_owned()))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// The parent of `programs`, if `programs` is named `bin`. Returns `programs` itself if it has
/// another name, or if its parent contains the user's home or is the root.
fn installation_folder<'a>(programs: &'a Path, home: Option<&Path>) -> &'a Path {
    match programs.parent() {
        Some(parent)
            if programs.ends_with("bin")
                && home.is_none_or(|home| !home.starts_with(parent))
                && parent.parent().is_some() =>
        {
            parent
        }
        _ => programs,
    }
}

/// The files of ccache.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ccache {
    /// The folder of the cache.
    folder: PathBuf,
    /// Folders of remote storage (`file:` URLs). Remote storage on the network is not available to a
    /// contained build.
    shared: Vec<PathBuf>,
    /// The user's settings file.
    settings: Option<PathBuf>,
}

impl Ccache {
    /// The files of ccache; `None` if it is not installed.
    fn find(owner: Owner) -> Option<Ccache> {
        find_program("ccache")?;
        let mut show = command::clean("ccache", owner);
        show.arg("--show-config");
        Ccache::from_settings(&command::stdout_of(show)?)
    }

    /// Parses the output of `ccache --show-config`: lines `(ORIGIN) NAME = VALUE`.
    fn from_settings(text: &str) -> Option<Ccache> {
        let mut ccache = Ccache::default();
        for line in text.lines() {
            let Some((origin, setting)) =
                line.strip_prefix('(').and_then(|rest| rest.split_once(") "))
            else {
                continue;
            };
            if Path::new(origin).is_absolute() {
                ccache.settings = Some(origin.into());
            }
            match setting.split_once(" = ") {
                Some(("cache_dir", folder)) => ccache.folder = folder.into(),
                // URLs with attributes after `|`, separated by spaces.
                Some(("remote_storage" | "secondary_storage", urls)) => {
                    let urls = urls.split_whitespace().filter_map(|url| url.split('|').next());
                    let paths = urls.filter_map(|url| url.strip_prefix("file:"));
                    ccache.shared =
                        paths.map(|path| path.strip_prefix("//").unwrap_or(path).into()).collect();
                }
                _ => {}
            }
        }
        ccache.folder.is_absolute().then_some(ccache)
    }
}

#[cfg(test)]
mod tests;
