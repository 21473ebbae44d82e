//! Releases in a git tree that the user has. The repository is only read.

use std::path::Path;
use std::process::Command;

use super::{Candidate, Origin};
use crate::cache::Cache;
use crate::version::{Release, Series};
use crate::{Error, process};

/// A git that writes nothing into the repository: no index refresh, no objects of a partial clone.
pub(crate) fn command(cache: &Cache, repository: &Path) -> Command {
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
        let mut git = command(cache, &repository);
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

    #[test]
    fn commits_are_found_by_any_name_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let repository = dir.path().join("linux");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "-q", "-b", "main"]);
        git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
        git(&repository, &["commit", "-q", "--allow-empty", "-m", "y"]);
        for name in ["HEAD~1", "main", "main@{0}"] {
            let found = commit(&cache, &repository, name).unwrap();
            assert_eq!(found.id(), "git-4b825dc642cb6eb9a060e54bf8d69288fbee4904");
            assert!(found.label().contains(name));
        }
        let refused = |repository: &Path, name: &str| {
            let error = commit(&cache, repository, name).unwrap_err();
            assert_eq!(error.fault(), crate::Fault::Input);
            error.to_string()
        };
        assert!(refused(&repository, "HEAD~2").contains("no such commit"));
        assert!(refused(&repository, "--all").contains("no such commit"));
        let shallow = dir.path().join("shallow");
        let url = format!("file://{}", repository.display());
        git(dir.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
        assert!(refused(&shallow, "HEAD~1").contains("--unshallow"));
        assert!(refused(dir.path(), "HEAD").contains("not a git repository"));
    }
}
