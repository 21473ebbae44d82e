// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Releases and commits in the user's git tree. sudbox only reads the tree.

use std::path::{Path, PathBuf};

use super::unpack::{self, Part};
use super::{Candidate, Query, ReleaseList, Source};
use crate::ctx::Ctx;
use crate::error::{Error, GitError};
use crate::paths::expand_home;
use crate::version::Release;
use crate::{command, git};

/// The git tree in `LINUX=`.
pub(super) struct GitTree;

/// The location of a release or commit in the git tree.
#[derive(serde::Serialize, serde::Deserialize)]
enum Locator {
    Git {
        repository: PathBuf,
        /// The tag; for a commit, the name that the user typed and the object name.
        tag: String,
        /// Object name of the tree.
        tree: String,
    },
}

impl Source for GitTree {
    fn name(&self) -> &'static str {
        "the git tree of --linux (LINUX=)"
    }

    fn locator_keys(&self) -> &'static [&'static str] {
        &["Git"]
    }

    fn is_local(&self) -> bool {
        true
    }

    /// Lists the tagged releases.
    fn list(&self, ctx: &mut Ctx<'_>, query: &Query<'_>) -> Result<Option<ReleaseList>, Error> {
        let Some(linux) = query.linux else { return Ok(None) };
        let (repository, series) = (absolute(linux), query.series);
        let mut git = git::command(ctx.cache, &repository);
        // `*tree` is set for an annotated tag, `tree` for a lightweight tag: the tree of the tagged
        // commit.
        git.args(["for-each-ref", "--format=%(refname:strip=2) %(*tree)%(tree)"]);
        git.args([format!("refs/tags/v{series}"), format!("refs/tags/v{series}.*")]);
        git.arg(format!("refs/tags/v{series}-rc*"));
        let Some(text) = command::stdout_of(git) else {
            return Err(GitError::NotARepository { linux: repository }.into());
        };
        let candidate = |line: &str| {
            let (tag, tree) = line.split_once(' ')?;
            let release: Release = tag.strip_prefix('v')?.parse().ok()?;
            let (repository, tag) = (repository.clone(), tag.to_owned());
            let locator = Locator::Git { repository, tag, tree: tree.trim().to_owned() };
            (!tree.trim().is_empty()).then(|| Candidate::new(release.to_string(), &locator))
        };
        let candidates = text.lines().filter_map(candidate).collect();
        Ok(Some(ReleaseList { candidates, series: Vec::new() }))
    }

    fn fetch(
        &self,
        ctx: &mut Ctx<'_>,
        candidate: &Candidate,
        part: Part,
        folder: &Path,
    ) -> Result<PathBuf, Error> {
        let Locator::Git { repository, tree, .. } = candidate.locator()?;
        unpack::unpack_git_tree(ctx, &repository, &tree, folder, part)
    }

    fn label(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Git { repository, tag, tree } = candidate.locator()?;
        Ok(format!("git {} {tag}, tree {tree}", repository.display()))
    }

    fn content_id(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Git { tree, .. } = candidate.locator()?;
        Ok(format!("git-{tree}"))
    }

    fn location(&self, candidate: &Candidate) -> Result<String, Error> {
        let Locator::Git { tag, .. } = candidate.locator()?;
        Ok(tag)
    }
}

/// The absolute path of a repository, with `~` expanded.
fn absolute(repository: &Path) -> PathBuf {
    let repository = expand_home(repository);
    std::path::absolute(&repository).unwrap_or(repository)
}

/// Finds a commit by a name in the syntax of gitrevisions(7).
///
/// # Errors
/// [`GitError`] if there is no repository, or no such commit in it.
pub(super) fn commit(ctx: &Ctx<'_>, linux: &Path, name: &str) -> Result<Candidate, Error> {
    let repository = absolute(linux);
    let rev_parse = |arguments: &[&str]| {
        let mut git = git::command(ctx.cache, &repository);
        git.arg("rev-parse").args(arguments);
        command::stdout_of(git).map(|text| text.trim().to_owned())
    };
    if rev_parse(&["--git-dir"]).is_none() {
        return Err(GitError::NotARepository { linux: repository }.into());
    }
    let object_name = |object_type: &str| {
        let object = format!("{name}^{{{object_type}}}");
        rev_parse(&["--verify", "--quiet", "--end-of-options", &object])
    };
    let (Some(commit), Some(tree)) = (object_name("commit"), object_name("tree")) else {
        let is_shallow = rev_parse(&["--is-shallow-repository"]).as_deref() == Some("true");
        let (linux, name) = (repository, name.to_owned());
        return Err(match is_shallow {
            true => GitError::BeyondShallow { linux, name },
            false => GitError::NoSuchCommit { linux, name },
        }
        .into());
    };
    let tag = format!("{name}, commit {commit}");
    Ok(Candidate::new(name.to_owned(), &Locator::Git { repository, tag, tree }))
}

#[cfg(test)]
mod tests;
