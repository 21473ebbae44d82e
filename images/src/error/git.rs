// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Errors about the user's git repository, and of git commands.

use std::path::PathBuf;

use super::Fault;

/// An error about the user's repository (`linux`), or of a git command.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error(
        "git tree {}: not a git repository that git can read; name a checkout of Linux with its \
         history and tags",
        linux.display()
    )]
    NotARepository { linux: PathBuf },
    #[error(
        "git tree {0}: a shallow clone, which lacks commits; fetch them with `git -C {0} fetch \
         --unshallow`",
        linux.display()
    )]
    Shallow { linux: PathBuf },
    #[error(
        "git tree {0}: a partial clone, which lacks the files of old commits; fetch them with `git -C \
         {0} fetch --refetch --no-filter`",
        linux.display()
    )]
    Partial { linux: PathBuf },
    #[error(
        "git tree {}: git knows no commit `{name}` there; name a tag, a branch or a commit that it has \
         (`git fetch --tags` gets new ones)",
        linux.display()
    )]
    NoCommit { linux: PathBuf, name: String },
    #[error(
        "kernel {name}: the git tree {} is a shallow clone that does not reach it; run git fetch \
         --unshallow there",
        linux.display()
    )]
    BeyondShallow { linux: PathBuf, name: String },
    #[error("kernel {name}: the git tree {} has no such commit, branch or tag", linux.display())]
    NoSuchCommit { linux: PathBuf, name: String },
    #[error(
        "git tree {}: commit `{name}` is not a Linux source tree: it has no {missing} at its top",
        linux.display()
    )]
    NotLinux { linux: PathBuf, name: String, missing: &'static str },
    #[error("git cannot read commit {id} of {}", linux.display())]
    Unreadable { linux: PathBuf, id: String },
    #[error("cannot {purpose} for {}: {output}", linux.display())]
    Failed { purpose: &'static str, linux: PathBuf, output: String },
    #[error("git cannot bisect: {output}")]
    CannotBisect { output: String },
}

impl GitError {
    pub(super) fn fault(&self) -> Fault {
        match self {
            GitError::Unreadable { .. }
            | GitError::Failed { .. }
            | GitError::CannotBisect { .. } => Fault::Machine,
            _ => Fault::Input,
        }
    }
}
