// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A git repository whose first commit is a released kernel, and made-up histories on top of it.
//!
//! `git fast-import` creates the commits: it needs no work tree, and equal commits have equal object
//! names in every run.

use crate::faults::changed_files;
use crate::root;
use crate::tree::{self, fetch_source, lock_in_cache, with_suffix};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository of a series; one test at a time holds it.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    source: PathBuf,
    _lock: fs::File,
}

/// A commit, and the files in which it differs from the release.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Object name of the commit.
    pub id: String,
    changed: BTreeMap<String, String>,
}

impl History {
    /// Waits for the repository of a series such as `6.12`; the tag `release` names its first commit.
    ///
    /// # Panics
    /// If the repository cannot be made.
    #[must_use]
    pub fn wait_for(series: &str) -> History {
        let source = fetch_source(series);
        let (path, lock) = lock_in_cache(&format!("history-{series}"));
        let source_record = with_suffix(&path, "copy-of");
        let history = History { path, source, _lock: lock };
        let copied = history.source.to_str().expect("a UTF-8 path").to_owned();
        if fs::read_to_string(&source_record).is_ok_and(|text| text == copied) {
            return history;
        }
        let _ = fs::remove_dir_all(&history.path);
        fs::create_dir_all(&history.path).expect("a directory in the cache");
        history.git(&["init", "--quiet", "--initial-branch=work"]);
        history.git(&["config", "core.compression", "1"]);
        let mut stream = Vec::new();
        write_commit_header(&mut stream, "refs/tags/release", "Linux as released");
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(history.source.join(&folder)).expect("the source").flatten() {
                let path = folder.join(entry.file_name());
                let name = path.to_str().expect("a UTF-8 path");
                let kind = entry.file_type().expect("a file of the source");
                if kind.is_dir() && !name.starts_with("sudbox-") {
                    folders.push(path);
                } else if kind.is_symlink() {
                    let target = fs::read_link(entry.path()).expect("a link of the source");
                    write_file(&mut stream, "120000", name, target.as_os_str().as_encoded_bytes());
                } else if kind.is_file() {
                    let mode = entry.metadata().expect("a file of the source").permissions().mode();
                    let mode = if mode & 0o100 == 0 { "100644" } else { "100755" };
                    write_file(&mut stream, mode, name, &fs::read(entry.path()).expect("a file"));
                }
            }
        }
        let _ = history.import(&stream);
        fs::write(&source_record, copied).expect("a mark");
        history
    }

    /// The repository's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The repository's directory as an argument for `--linux`.
    ///
    /// # Panics
    /// If the path is not UTF-8.
    #[must_use]
    pub fn argument(&self) -> &str {
        self.path.to_str().expect("a UTF-8 path")
    }

    /// Runs git in the repository and returns its stdout.
    ///
    /// # Panics
    /// If git fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        crate::git(&self.path, arguments)
    }

    /// The commit of the released kernel.
    #[must_use]
    pub fn release(&self) -> Commit {
        Commit { id: self.git(&["rev-parse", "release^{commit}"]), changed: BTreeMap::new() }
    }

    /// Creates or moves a tag.
    pub fn tag(&self, name: &str, commit: &Commit) {
        self.git(&["tag", "--force", name, &commit.id]);
    }

    /// Commits a change of one file on top of `on`.
    ///
    /// # Panics
    /// If `change` returns the same text.
    #[must_use]
    pub fn edit(
        &self,
        on: &Commit,
        subject: &str,
        name: &str,
        change: impl FnOnce(&str) -> String,
    ) -> Commit {
        let text = self.file_text(on, name);
        let changed = change(&text);
        assert_ne!(text, changed, "{name} does not change");
        self.commit(&[on], subject, &[(name.to_owned(), changed)])
    }

    /// Commits an added comment in a file.
    #[must_use]
    pub fn comment(&self, on: &Commit, subject: &str, name: &str) -> Commit {
        self.edit(on, subject, name, |text| format!("{text}\n/* {subject} */\n"))
    }

    /// Commits a patch of `tests/faults/`.
    ///
    /// # Panics
    /// If the patch does not apply.
    #[must_use]
    pub fn apply(&self, on: &Commit, subject: &str, patch: &str) -> Commit {
        let patch = root().join("tests/faults").join(patch);
        let text = fs::read_to_string(&patch).expect("a patch");
        let names: Vec<&str> = changed_files(&text).collect();
        let dir = tempfile::tempdir().expect("a directory");
        for name in &names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, self.file_text(on, name)).expect("a file");
        }
        tree::apply_patch(&patch, dir.path())
            .unwrap_or_else(|why| panic!("{}: {why}", patch.display()));
        let read = |name: &&str| {
            let text = fs::read_to_string(dir.path().join(name)).expect("a file");
            ((*name).to_owned(), text)
        };
        self.commit(&[on], subject, &names.iter().map(read).collect::<Vec<_>>())
    }

    /// Merges `branch` into `one`. `names` are the files that only `branch` has changed.
    #[must_use]
    pub fn merge(&self, one: &Commit, branch: &Commit, names: &[&str], subject: &str) -> Commit {
        let changed = names.iter().map(|name| ((*name).to_owned(), self.file_text(branch, name)));
        self.commit(&[one, branch], subject, &changed.collect::<Vec<_>>())
    }

    fn file_text(&self, commit: &Commit, name: &str) -> String {
        let of_release = || fs::read_to_string(self.source.join(name)).expect("a file");
        commit.changed.get(name).cloned().unwrap_or_else(of_release)
    }

    fn commit(&self, parents: &[&Commit], subject: &str, files: &[(String, String)]) -> Commit {
        let mut stream = Vec::new();
        write_commit_header(&mut stream, "refs/sudbox/tip", subject);
        for (parent, word) in parents.iter().zip(["from", "merge"]) {
            writeln!(stream, "{word} {}", parent.id).expect("memory");
        }
        let mut changed = parents[0].changed.clone();
        for (name, text) in files {
            write_file(&mut stream, "100644", name, text.as_bytes());
            changed.insert(name.clone(), text.clone());
        }
        stream.extend_from_slice(b"\nget-mark :1\n");
        Commit { id: self.import(&stream), changed }
    }

    fn import(&self, stream: &[u8]) -> String {
        let mut git = Command::new("git")
            .args(["-c", "core.compression=1", "-c", "gc.auto=0"])
            .args(["fast-import", "--quiet", "--force"])
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git is installed");
        git.stdin.take().expect("piped").write_all(stream).expect("git reads");
        let output = git.wait_with_output().expect("a child of ours");
        assert!(output.status.success(), "git fast-import");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Author of every commit.
pub const AUTHOR: &str = "A Developer <developer@example.org>";

fn write_commit_header(stream: &mut Vec<u8>, reference: &str, subject: &str) {
    let length = subject.len();
    write!(
        stream,
        "commit {reference}\nmark :1\nauthor {AUTHOR} 1700000000 +0000\n\
         committer {AUTHOR} 1700000000 +0000\ndata {length}\n{subject}\n"
    )
    .expect("memory");
}

fn write_file(stream: &mut Vec<u8>, mode: &str, name: &str, content: &[u8]) {
    write!(stream, "M {mode} inline {name}\ndata {}\n", content.len()).expect("memory");
    stream.extend_from_slice(content);
    stream.push(b'\n');
}
