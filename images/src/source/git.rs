// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Releases in a git tree that the user has. The repository is only read.

use std::path::Path;

use super::{Candidate, Origin};
use crate::cache::Cache;
use crate::error::Error;
use crate::git;
use crate::process;
use crate::version::{Release, Series};

/// The tagged releases of a series.
///
/// # Errors
/// [`Error::Input`] if it is no git repository.
pub(super) fn list(
    cache: &Cache,
    repository: &Path,
    series: Series,
) -> Result<Vec<Candidate>, Error> {
    let repository = std::path::absolute(repository).unwrap_or_else(|_| repository.to_owned());
    let mut git = git::command(cache, &repository);
    // The peeled name: what an annotated tag points at.
    git.args(["for-each-ref", "--format=%(refname:strip=2) %(*tree)%(tree)"]);
    git.args([format!("refs/tags/v{series}"), format!("refs/tags/v{series}.*")]);
    git.arg(format!("refs/tags/v{series}-rc*"));
    let Some(text) = process::output(git) else { return Err(no_repository(&repository)) };
    let candidate = |line: &str| {
        let (tag, tree) = line.split_once(' ')?;
        let release: Release = tag.strip_prefix('v')?.parse().ok()?;
        let origin = Origin::Git {
            repository: repository.clone(),
            tag: tag.to_owned(),
            tree: tree.trim().to_owned(),
        };
        (!tree.trim().is_empty()).then(|| Candidate { version: release.to_string(), origin })
    };
    Ok(text.lines().filter_map(candidate).collect())
}

fn no_repository(repository: &Path) -> Error {
    Error::Input(format!(
        "LINUX={}: not a git repository that git can read; name one with Linux's tags, or leave LINUX \
         away",
        repository.display()
    ))
}

/// The commit of that name, whatever git-rev-parse(1) takes for one.
///
/// # Errors
/// [`Error::Input`] if there is no such commit, or no repository.
pub(super) fn commit(cache: &Cache, repository: &Path, name: &str) -> Result<Candidate, Error> {
    let repository = std::path::absolute(repository).unwrap_or_else(|_| repository.to_owned());
    let ask = |arguments: &[&str]| {
        let mut git = git::command(cache, &repository);
        git.arg("rev-parse").args(arguments);
        process::output(git).map(|text| text.trim().to_owned())
    };
    if ask(&["--git-dir"]).is_none() {
        return Err(no_repository(&repository));
    }
    let object =
        |end: &str| ask(&["--verify", "--quiet", "--end-of-options", &format!("{name}^{{{end}}}")]);
    let (Some(commit), Some(tree)) = (object("commit"), object("tree")) else {
        let repository = repository.display();
        let shallow = ask(&["--is-shallow-repository"]).as_deref() == Some("true");
        return Err(Error::Input(if shallow {
            format!(
                "KERNEL={name}: LINUX={repository} is a shallow clone that does not reach it; run git \
                 fetch --unshallow there"
            )
        } else {
            format!("KERNEL={name}: LINUX={repository} has no such commit, branch or tag")
        }));
    };
    let tag = format!("{name}, commit {commit}");
    Ok(Candidate { version: name.to_owned(), origin: Origin::Git { repository, tag, tree } })
}

#[cfg(test)]
mod tests;
