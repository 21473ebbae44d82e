// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The errors of this crate. Each error is the fault of the request, of this machine or of the
//! kernel, or is an interrupt by the caller.

mod build;
mod git;
mod prebuilt;
mod reference;
mod source;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use build::{BuildError, ConfigError, PatchError};
pub(crate) use git::GitError;
pub(crate) use prebuilt::{DamagedImage, DebError, ModuleError, PrebuiltError};
pub use reference::ACCEPTED_REFERENCES;
pub(crate) use reference::ReferenceError;
pub(crate) use source::SourceError;

/// The party at fault, which decides the exit code of the `sudbox` command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is invalid (exit code 129).
    Input,
    /// A tool, a source or disk space is missing on this machine (exit code 128).
    Machine,
    /// This kernel cannot be configured or built (exit code 125).
    Kernel,
    /// The caller asked to stop (exit code 130).
    Interrupted,
}

impl Fault {
    /// The exit code of the `sudbox` command for this fault.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Fault::Kernel => 125,
            Fault::Machine => 128,
            Fault::Input => 129,
            Fault::Interrupted => 130,
        }
    }
}

/// An error of this crate. Every message says what happened, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text after `KERNEL=` names no kernel.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The release or package cannot be found, downloaded or unpacked.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The user's git repository cannot be used.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A patch cannot be applied.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The build failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The prebuilt kernel cannot be used.
    #[error(transparent)]
    Prebuilt(#[from] PrebuiltError),
    /// This machine lacks tools that the build needs.
    #[error("this machine lacks {names}; {advice}")]
    ToolsMissing {
        /// The tools.
        names: String,
        /// The command that installs the tools.
        advice: String,
    },
    /// A program cannot be started.
    #[error("cannot run {program}: {reason}; install it or put it on the PATH")]
    CannotRun {
        /// The program's name.
        program: String,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// An operation failed on a child process, or on the file descriptor by which the caller interrupts.
    #[error("cannot {operation}: {reason}")]
    Child {
        /// The operation that failed.
        operation: &'static str,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// No environment variable gives the cache's directory.
    #[error(
        "there is no place for the cache: neither SUDBOX_CACHE nor HOME is set; set one of them"
    )]
    NoCache,
    /// A file operation failed.
    #[error("cannot {operation} {}: {reason}", path.display())]
    Io {
        /// The operation, such as `read`.
        operation: String,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// A file operation failed for lack of permission.
    #[error(
        "cannot {operation} {}: {reason}; give yourself access to it, or let SUDBOX_CACHE name a directory \
         that you may write to",
        path.display()
    )]
    Denied {
        /// The operation, such as `write`.
        operation: String,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// A file of the user's source tree cannot be read.
    #[error("cannot read {}: {reason}; the whole tree must be readable", path.display())]
    TreeUnreadable {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// Another program removed a file or directory of the cache while it was in use.
    #[error("{item} has vanished from {}; is something else cleaning it?", directory.display())]
    Vanished {
        /// The removed item.
        item: &'static str,
        /// The directory from which the item was removed.
        directory: PathBuf,
    },
    /// The disk is full; the text is the failed operation.
    #[error(
        "the disk is full: cannot {0}; free some space there, or let SUDBOX_CACHE name a \
         directory on another disk"
    )]
    DiskFull(String),
    /// The caller asked to stop.
    #[error("interrupted; the cache is whole and the build goes on from here next time")]
    Interrupted,
}

impl From<sudbox_protocol::UnknownArch> for Error {
    fn from(error: sudbox_protocol::UnknownArch) -> Error {
        Error::Reference(ReferenceError::UnknownArch(error))
    }
}

impl Error {
    /// The party at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Error::Reference(_) => Fault::Input,
            Error::Source(error) => error.fault(),
            Error::Git(error) => error.fault(),
            Error::Config(error) => error.fault(),
            Error::Patch(error) => error.fault(),
            Error::Build(error) => error.fault(),
            Error::Prebuilt(error) => error.fault(),
            Error::ToolsMissing { .. }
            | Error::CannotRun { .. }
            | Error::Child { .. }
            | Error::NoCache
            | Error::Io { .. }
            | Error::Denied { .. }
            | Error::TreeUnreadable { .. }
            | Error::Vanished { .. }
            | Error::DiskFull(_) => Fault::Machine,
            Error::Interrupted => Fault::Interrupted,
        }
    }

    /// The full log of a build that failed.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Error::Build(error) => error.log(),
            _ => None,
        }
    }

    /// The error of a failed operation on a file.
    pub(crate) fn io(operation: &str, path: &Path, reason: io::Error) -> Error {
        let (operation, path) = (operation.to_owned(), path.to_owned());
        match reason.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull(format!("{operation} {}", path.display()))
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::Denied { operation, path, reason }
            }
            _ => Error::Io { operation, path, reason },
        }
    }
}

/// Whether a program's message says that the disk is full.
pub(crate) fn is_full_disk(line: &str) -> bool {
    line.contains("No space left on device") || line.contains("Disk quota exceeded")
}

/// Turns an [`io::Result`] into a result with an [`Error`].
pub(crate) trait Context<T> {
    /// Adds the operation and the file to an I/O error.
    fn context(self, operation: &str, path: &Path) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|reason| Error::io(operation, path, reason))
    }
}
