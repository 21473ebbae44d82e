// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::process::Command;

use super::*;
use crate::cache::Cache;
use crate::monitor::Silent;

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
fn only_version_tags_are_releases() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
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
    let mut silent = Silent;
    let mut ctx = Ctx::new(&cache, &mut silent);
    let mut ask = |linux: &Path| GitTree.list(&mut ctx, &Query { series, linux: Some(linux) });
    let mut list = ask(&repository).unwrap().unwrap().candidates;
    list.sort_by_key(|c| c.release());
    let versions: Vec<_> = list.iter().map(|c| c.version.as_str()).collect();
    assert_eq!(versions, ["6.12-rc1", "6.12", "6.12.3"]);
    // Every tag has the empty tree.
    assert!(
        list.iter()
            .all(|c| c.content_id().unwrap() == "git-4b825dc642cb6eb9a060e54bf8d69288fbee4904")
    );

    let error = ask(dir.path()).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
}

#[test]
fn commits_are_found_by_any_name_and_missing_ones_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
    let repository = dir.path().join("linux");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "y"]);
    let mut silent = Silent;
    let ctx = Ctx::new(&cache, &mut silent);
    for name in ["HEAD~1", "main", "main@{0}"] {
        let found = commit(&ctx, &repository, name).unwrap();
        assert_eq!(found.content_id().unwrap(), "git-4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert!(found.label().unwrap().contains(name));
    }
    let excluded = |repository: &Path, name: &str| {
        let error = commit(&ctx, repository, name).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
        error.to_string()
    };
    assert!(excluded(&repository, "HEAD~2").contains("no such commit"));
    assert!(excluded(&repository, "--all").contains("no such commit"));
    let shallow = dir.path().join("shallow");
    let url = format!("file://{}", repository.display());
    git(dir.path(), &["clone", "-q", "--depth=1", &url, "shallow"]);
    assert!(excluded(&shallow, "HEAD~1").contains("--unshallow"));
    assert!(excluded(dir.path(), "HEAD").contains("not a git repository"));
}
