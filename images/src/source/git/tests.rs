// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::process::Command;

use super::*;
use crate::cache::Cache;
use crate::monitor::Silent;

fn run_git(dir: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"])
        .arg(dir)
        .args(arguments)
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

/// Content id of git's empty tree, which all commits of these tests have.
const EMPTY_TREE: &str = "git-4b825dc642cb6eb9a060e54bf8d69288fbee4904";

#[test]
fn only_version_tags_are_releases() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
    let repository = dir.path().join("linux");
    std::fs::create_dir(&repository).unwrap();
    run_git(&repository, &["init", "-q"]);
    run_git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
    run_git(&repository, &["tag", "v6.12"]);
    run_git(&repository, &["tag", "-a", "-m", "x", "v6.12.3"]);
    run_git(&repository, &["tag", "v6.12-rc1"]);
    run_git(&repository, &["tag", "v6.12-mine"]);
    run_git(&repository, &["tag", "v6.1"]);
    let series = "6.12".parse().unwrap();
    let mut silent = Silent;
    let mut ctx = Ctx::new(&cache, &mut silent);
    let mut list = |linux: &Path| GitTree.list(&mut ctx, &Query { series, linux: Some(linux) });
    let mut candidates = list(&repository).unwrap().unwrap().candidates;
    candidates.sort_by_key(Candidate::release);
    let versions: Vec<_> = candidates.iter().map(|candidate| candidate.version.as_str()).collect();
    assert_eq!(versions, ["6.12-rc1", "6.12", "6.12.3"]);
    assert!(candidates.iter().all(|candidate| candidate.content_id().unwrap() == EMPTY_TREE));

    let error = list(dir.path()).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
}

#[test]
fn commits_are_found_by_any_name_and_missing_commits_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
    let repository = dir.path().join("linux");
    std::fs::create_dir(&repository).unwrap();
    run_git(&repository, &["init", "-q", "-b", "main"]);
    run_git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
    run_git(&repository, &["commit", "-q", "--allow-empty", "-m", "y"]);
    let mut silent = Silent;
    let ctx = Ctx::new(&cache, &mut silent);
    for name in ["HEAD~1", "main", "main@{0}"] {
        let found = commit(&ctx, &repository, name).unwrap();
        assert_eq!(found.content_id().unwrap(), EMPTY_TREE);
        assert!(found.label().unwrap().contains(name));
    }
    let refusal = |repository: &Path, name: &str| {
        let error = commit(&ctx, repository, name).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
        error.to_string()
    };
    assert!(refusal(&repository, "HEAD~2").contains("no such commit"));
    assert!(refusal(&repository, "--all").contains("no such commit"));
    let shallow = dir.path().join("shallow");
    let url = format!("file://{}", repository.display());
    run_git(dir.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
    assert!(refusal(&shallow, "HEAD~1").contains("--unshallow"));
    assert!(refusal(dir.path(), "HEAD").contains("not a git repository"));
}
