// SPDX-License-Identifier: Apache-2.0 OR MIT

//! git commands that read a repository of the user's and write nothing into it.

use std::path::Path;
use std::process::Command;

use crate::cache::Cache;
use crate::process;

/// A git command that writes nothing into the repository: it refreshes no index and fetches no
/// objects of a partial clone.
pub(crate) fn command(cache: &Cache, repository: &Path) -> Command {
    let mut git = process::command("git", cache.owner);
    git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1");
    git.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    git
}

/// Like [`command`], without replacement refs (git-replace(1)), which the bare repository of a
/// [`History`](crate::History) does not have either.
pub(crate) fn reading(cache: &Cache, repository: &Path) -> Command {
    let mut git = command(cache, repository);
    git.arg("--no-replace-objects");
    git
}

/// The commit that is checked out. `rev-parse` writes nothing, unlike `status` and `describe
/// --dirty`, which refresh the index.
pub(crate) fn head(cache: &Cache, tree: &Path) -> Option<String> {
    if !tree.join(".git").exists() {
        return None;
    }
    let mut git = command(cache, tree);
    git.args(["rev-parse", "--short=12", "--verify", "HEAD"]);
    process::output(git).map(|head| head.trim().to_owned())
}
