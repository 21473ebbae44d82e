// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What can go wrong on the way to an image, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

/// Whose fault an [`Error`] is; the `sudbox` command turns it into its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something that makes no sense (exit code 129).
    Input,
    /// This machine cannot do it: a tool, a source or disk space is missing (exit code 128).
    Machine,
    /// This kernel cannot be configured or built (exit code 125).
    Kernel,
    /// The caller's interrupt descriptor became readable (exit code 130).
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

/// Why there is no image. Every message says what happened, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad input; the sentence for the user.
    #[error("{0}")]
    Input(String),
    /// This machine is at fault; the sentence for the user.
    #[error("{0}")]
    Machine(String),
    /// A release or package that cannot be downloaded; another may be had in its place.
    #[error("cannot download {what}: {said}; {advice}")]
    Download {
        /// The address, or the name and version of a package.
        what: String,
        /// The error of the program that downloads.
        said: String,
        /// How to go on.
        advice: &'static str,
    },
    /// This machine's disk is full.
    #[error(
        "the disk is full: cannot {0}; free some space there, or let SUDBOX_CACHE name a \
             directory on another disk"
    )]
    DiskFull(String),
    /// The kernel cannot be configured or built.
    #[error("{message}")]
    Kernel {
        /// What failed, with the compiler's first error where there is one.
        message: String,
        /// The full log of the build.
        log: Option<PathBuf>,
    },
    /// The caller asked to stop.
    #[error("interrupted; the cache is whole and the build goes on from here next time")]
    Interrupted,
}

impl From<sudbox_protocol::UnknownArch> for Error {
    fn from(error: sudbox_protocol::UnknownArch) -> Error {
        Error::Input(error.to_string())
    }
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Error::Input(_) => Fault::Input,
            Error::Machine(_) | Error::Download { .. } | Error::DiskFull(_) => Fault::Machine,
            Error::Kernel { .. } => Fault::Kernel,
            Error::Interrupted => Fault::Interrupted,
        }
    }

    /// The full log of a build that failed.
    #[must_use]
    pub fn log(&self) -> Option<&Path> {
        match self {
            Error::Kernel { log, .. } => log.as_deref(),
            _ => None,
        }
    }

    /// A file operation of ours that failed, always a fault of this machine.
    pub(crate) fn io(what: &str, path: &Path, source: &io::Error) -> Error {
        let path = path.display();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull(format!("{what} {path}"))
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::Machine(format!(
                    "cannot {what} {path}: {source}; give yourself access to it, or let \
                     SUDBOX_CACHE name a directory that you may write to"
                ))
            }
            _ => Error::Machine(format!("cannot {what} {path}: {source}")),
        }
    }
}

/// Whether a tool's message is about a full disk.
pub(crate) fn is_full_disk(line: &str) -> bool {
    line.contains("No space left on device") || line.contains("Disk quota exceeded")
}

/// Gives an [`io::Result`] the words of [`Error::io`].
pub(crate) trait Context<T> {
    /// Turns an I/O error into one that says what was done to which file.
    fn context(self, what: &str, path: &Path) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(what, path, &source))
    }
}
