//! `PATCHES=`: applied to copies, in the mirror of a tree, and nowhere else.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::cache::Cache;
use crate::error::Context as _;
use crate::mirror::hex;
use crate::process::{self, Event};
use crate::reference::expand_home;
use crate::{Error, Monitor};

/// The patches of a request, in their order.
#[derive(Debug)]
pub(crate) struct Patches {
    patches: Vec<(PathBuf, String)>,
    files: HashSet<String>,
}

impl Patches {
    /// Reads them, and which files they touch.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Patches, Error> {
        let mut patches = Vec::new();
        let mut files = HashSet::new();
        for path in paths {
            let bad = |why: &str| {
                Error::Input(format!("PATCHES={}: {why}; give unified diffs", path.display()))
            };
            let file = expand_home(path);
            let text =
                fs::read_to_string(&file).map_err(|e| bad(&format!("cannot be read: {e}")))?;
            let before = files.len();
            for line in text.lines() {
                let Some(name) = line.strip_prefix("+++ ").or_else(|| line.strip_prefix("--- "))
                else {
                    continue;
                };
                let name = name.split('\t').next().unwrap_or_default().trim();
                let Some((_, name)) = name.split_once('/').filter(|_| name != "/dev/null") else {
                    continue;
                };
                let inside =
                    Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
                if !inside {
                    return Err(bad("it names a file outside the tree"));
                }
                files.insert(name.to_owned());
            }
            if files.len() == before && !text.contains("\n@@ ") {
                return Err(bad("it changes no file"));
            }
            let path = fs::canonicalize(&file).context("find", &file)?;
            patches.push((path, text));
        }
        Ok(Patches { patches, files })
    }

    /// The files they touch, from the top of the tree.
    pub(crate) fn files(&self) -> &HashSet<String> {
        &self.files
    }

    /// Digest of the patches' texts.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for (_, text) in &self.patches {
            hasher.update(text);
        }
        hex(&hasher.finalize()[..16])
    }

    /// What a person should know of them, to be put behind the source.
    pub(crate) fn label(&self) -> String {
        match self.patches.len() {
            0 => String::new(),
            1 => format!(", with {}", self.patches[0].0.display()),
            count => format!(", with {count} patches"),
        }
    }

    /// Brings the files they touch in `src` to the state of `tree` with the patches applied. Files
    /// that are so already keep their times. Gives back a digest of these files.
    pub(crate) fn apply(
        &self,
        cache: &Cache,
        tree: &Path,
        src: &Path,
        monitor: &mut dyn Monitor,
    ) -> Result<String, Error> {
        if self.patches.is_empty() {
            return Ok(String::new());
        }
        let staging = cache.temporary()?;
        for file in &self.files {
            let (from, to) = (tree.join(file), staging.path().join(file));
            if from.is_file() {
                make_parent(&to)?;
                fs::copy(&from, &to).context("write", &to)?;
            }
        }
        for (path, _) in &self.patches {
            let mut patch = process::command("patch", cache.owner);
            patch.args(["-p1", "--batch", "--forward", "--no-backup-if-mismatch", "-d"]);
            patch.arg(staging.path()).arg("-i").arg(path);
            let mut said = Vec::new();
            let statuses =
                process::run(vec![patch], &crate::Held::default(), monitor, &mut |_, event| {
                    if let Event::Line(line) = event {
                        said.push(line.to_owned());
                    }
                })?;
            if !statuses.iter().all(std::process::ExitStatus::success) {
                return Err(Error::Kernel {
                    message: format!(
                        "PATCHES={} does not apply to this kernel: {}",
                        path.display(),
                        said.join("; ")
                    ),
                    log: None,
                });
            }
        }
        let mut files: Vec<&String> = self.files.iter().collect();
        files.sort_unstable();
        let mut hasher = Sha256::new();
        for file in files {
            let (from, to) = (staging.path().join(file), src.join(file));
            let Ok(content) = fs::read(&from) else {
                if to.exists() {
                    fs::remove_file(&to).context("remove", &to)?;
                }
                continue;
            };
            hasher.update(file);
            hasher.update(&content);
            if fs::read(&to).ok().as_ref() != Some(&content) {
                make_parent(&to)?;
                // Scripts stay executable, which fs::write() would not see to.
                let mode = fs::metadata(&from).context("read", &from)?.permissions();
                fs::write(&to, &content)
                    .and_then(|()| fs::set_permissions(&to, mode))
                    .context("write", &to)?;
            }
        }
        Ok(hex(&hasher.finalize()[..16]))
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).context("make", parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn the_mirror_is_patched_and_the_tree_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache")).unwrap();
        let (tree, src) = (dir.path().join("tree"), dir.path().join("src"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&src).unwrap();
        fs::write(tree.join("a.c"), "one\ntwo\n").unwrap();
        let diff = dir.path().join("x.diff");
        let text = "--- a/a.c\n+++ b/a.c\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n";
        fs::write(&diff, text).unwrap();
        let patches = Patches::read(std::slice::from_ref(&diff)).unwrap();
        assert!(patches.files().contains("a.c"));
        let first = patches.apply(&cache, &tree, &src, &mut Silent).unwrap();
        assert_eq!(fs::read_to_string(src.join("a.c")).unwrap(), "one\nthree\n");
        assert_eq!(fs::read_to_string(tree.join("a.c")).unwrap(), "one\ntwo\n");
        let time = fs::metadata(src.join("a.c")).unwrap().modified().unwrap();
        assert_eq!(patches.apply(&cache, &tree, &src, &mut Silent).unwrap(), first);
        assert_eq!(fs::metadata(src.join("a.c")).unwrap().modified().unwrap(), time);

        fs::write(tree.join("a.c"), "other\n").unwrap();
        let error = patches.apply(&cache, &tree, &src, &mut Silent).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Kernel);
        assert!(error.to_string().contains("x.diff"), "{error}");
    }

    #[test]
    fn what_is_no_patch_is_bad_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        for text in ["hello\n", "--- a/../../etc/passwd\n+++ b/../../etc/passwd\n@@ -1 +1 @@\n"] {
            fs::write(&file, text).unwrap();
            assert_eq!(
                Patches::read(std::slice::from_ref(&file)).unwrap_err().fault(),
                crate::Fault::Input
            );
        }
    }
}
