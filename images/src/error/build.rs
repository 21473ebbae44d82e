// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors of configuring, patching and building a kernel.

use std::io;
use std::path::{Path, PathBuf};

use super::Fault;
use crate::makefile::NotATree;

/// An error in configuring a kernel.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("flavour {flavour}: unknown; use one of {known}")]
    NoSuchFlavour { flavour: String, known: String },
    #[error(
        "fragment {}: cannot be read: {reason}; name a file with lines such as CONFIG_X=y",
        file.display()
    )]
    Unreadable { file: PathBuf, reason: io::Error },
    #[error("fragment {}: line {number} is not a setting such as CONFIG_X=y: {line}", file.display())]
    NotASetting { file: PathBuf, number: usize, line: String },
    #[error("fragment {fragment} takes out what sudbox needs: {missing}; leave these as they are")]
    TakesOut { fragment: String, missing: String },
    #[error(
        "this kernel cannot be configured: its final .config lacks {missing}; see \
         kernel-config/required.list for what each is for"
    )]
    Lacks { missing: String },
    #[error(
        "a fragment turns on {symbol}, whose headers are left out of the sources that sudbox keeps; \
         give a source tree to build with it"
    )]
    LeftOut { symbol: &'static str },
    #[error("sudbox was built with a broken required.list: {line}")]
    BrokenList { line: String },
    #[error("sudbox was built with a broken kernels.toml: {reason}")]
    BrokenPins { reason: String },
}

impl ConfigError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            ConfigError::Lacks { .. } => Fault::Kernel,
            ConfigError::BrokenList { .. } | ConfigError::BrokenPins { .. } => Fault::Machine,
            _ => Fault::Input,
        }
    }
}

/// An error in reading or applying patches.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("patches {}: {reason}; {ACCEPTED_PATCHES}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("patches {}: {label} cannot be read: {reason}; {ACCEPTED_PATCHES}", path.display())]
    FileUnreadable { path: PathBuf, label: String, reason: io::Error },
    #[error("patches {}: it changes no file; {ACCEPTED_PATCHES}", path.display())]
    Empty { path: PathBuf },
    #[error("patches: {label} is encoded as {encoding}: save the letters as plain text")]
    Encoded { label: String, encoding: String },
    #[error("patches: {label} names a file outside the tree: {file}")]
    OutsideTree { label: String, file: String },
    #[error(
        "patches: {label} changes {file}, which is a symbolic link or special file, or is below one; \
         sudbox patches regular files only"
    )]
    NotRegular { label: String, file: String },
    #[error(
        "patches: {label} changes {file}, but no header line of a unified diff names this file"
    )]
    Undeclared { label: String, file: String },
    #[error("the patch {label} does not apply to this kernel: {output}")]
    DoesNotApply { label: String, output: String },
}

/// The accepted values of `PATCHES=`, for messages.
const ACCEPTED_PATCHES: &str = "give a unified diff, a mailbox of them, or a folder of such files, which are \
                    taken in the order of their names";

impl PatchError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            PatchError::DoesNotApply { .. } => Fault::Kernel,
            _ => Fault::Input,
        }
    }
}

/// An error in building a kernel.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(
        "the build cannot be contained, which --contain require (CONTAIN=require) asks for: this machine has no \
         {missing}; see SECURITY.md"
    )]
    NotContained { missing: String },
    #[error("this kernel does not {operation}: {reason}; the full log is {}", log.display())]
    Failed { operation: &'static str, reason: String, log: PathBuf },
    #[error("not a kernel: {0}")]
    NotAKernel(NotATree),
    #[error("invalid kernel version {release} in Makefile")]
    BadVersion { release: String },
    #[error(
        "the kernel's Makefile cannot build below {}: it takes no space, colon or the like; let \
         SUDBOX_CACHE name a directory without",
        cache.display()
    )]
    UnusableCache { cache: PathBuf },
    #[error(
        "the compiler was killed, most likely because this machine ran out of memory; try again \
         with fewer --jobs (JOBS=)"
    )]
    CompilerKilled,
    #[error(
        "flavour coverage has no instrumented code of this kernel: its Kconfig refuses KCOV, or its \
         scripts/Makefile.lib does not read KCOV_INSTRUMENT"
    )]
    NotInstrumented,
    #[error("cannot strip {}: {output}", file.display())]
    CannotStrip { file: PathBuf, output: String },
}

impl BuildError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            BuildError::Failed { .. }
            | BuildError::NotAKernel(_)
            | BuildError::NotInstrumented
            | BuildError::BadVersion { .. } => Fault::Kernel,
            BuildError::NotContained { .. }
            | BuildError::UnusableCache { .. }
            | BuildError::CompilerKilled
            | BuildError::CannotStrip { .. } => Fault::Machine,
        }
    }

    /// The full log of the build.
    pub(super) fn log(&self) -> Option<&Path> {
        match self {
            BuildError::Failed { log, .. } => Some(log),
            _ => None,
        }
    }
}
