//! Releases in a git tree that the user has. The repository is only read.

use std::path::Path;
use std::process::Command;

use super::{Candidate, Origin};
use crate::cache::Cache;
use crate::version::{Release, Series};
use crate::{Error, process};

/// A git that writes nothing into the repository: no index refresh, no objects of a partial clone.
pub(super) fn command(cache: &Cache, repository: &Path) -> Command {
    let mut git = process::command("git", cache.owner);
    git.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1");
    git.args(["-c", "safe.directory=*", "-C"]).arg(repository);
    git
}

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
    let mut git = command(cache, &repository);
    // The peeled name: what an annotated tag points at.
    git.args(["for-each-ref", "--format=%(refname:strip=2) %(*tree)%(tree)"]);
    git.args([format!("refs/tags/v{series}"), format!("refs/tags/v{series}.*")]);
    git.arg(format!("refs/tags/v{series}-rc*"));
    let Some(text) = process::output(git) else {
        return Err(Error::Input(format!(
            "LINUX={}: not a git repository that git can read; name one with Linux's tags, or leave \
             LINUX away",
            repository.display()
        )));
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"])
            .arg(dir)
            .args(arguments)
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    }

    #[test]
    fn tags_are_releases_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let repository = dir.path().join("linux");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "-q"]);
        git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(&repository, &["tag", "v6.12"]);
        git(&repository, &["tag", "-a", "-m", "x", "v6.12.3"]);
        git(&repository, &["tag", "v6.12-rc1"]);
        git(&repository, &["tag", "v6.12-mine"]);
        git(&repository, &["tag", "v6.1"]);
        let series = "6.12".parse().unwrap();
        let mut list = list(&cache, &repository, series).unwrap();
        list.sort_by_key(|c| c.release());
        let versions: Vec<_> = list.iter().map(|c| c.version.as_str()).collect();
        assert_eq!(versions, ["6.12-rc1", "6.12", "6.12.3"]);
        // The empty tree, by whichever tag.
        assert!(list.iter().all(|c| c.id() == "git-4b825dc642cb6eb9a060e54bf8d69288fbee4904"));

        let error = super::list(&cache, dir.path(), series).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
    }
}
