// SPDX-License-Identifier: Apache-2.0 OR MIT
//! git commands that only read a user's repository.

use std::path::Path;
use std::process::Command;

use crate::cache::Cache;
use crate::command;

/// A git command on the user's repository that does not refresh the index and does not fetch objects
/// of a partial clone.
pub(crate) fn command(cache: &Cache, repository: &Path) -> Command {
    let mut git = command::clean("git", cache.owner);
    git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1");
    git.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    git
}

/// Like [`command`], but ignores replacement refs (git-replace(1)), because the bare repository of a
/// [`History`](crate::History) has no replacement refs.
pub(crate) fn command_without_replacements(cache: &Cache, repository: &Path) -> Command {
    let mut git = command(cache, repository);
    git.arg("--no-replace-objects");
    git
}

/// The abbreviated object name of the checked-out commit; `None` outside of git. Uses `rev-parse`,
/// because `status` and `describe --dirty` would refresh the index.
pub(crate) fn head(cache: &Cache, tree: &Path) -> Option<String> {
    if !tree.join(".git").exists() {
        return None;
    }
    let mut git = command(cache, tree);
    git.args(["rev-parse", "--short=12", "--verify", "HEAD"]);
    command::stdout_of(git).map(|head| head.trim().to_owned())
}
