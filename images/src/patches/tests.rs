// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::cache::Cache;
use crate::monitor::Silent;
use crate::testing::snapshot;

#[test]
fn patched_copies_are_written_to_the_mirror_and_the_tree_is_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
    let (tree, mirror) = (dir.path().join("tree"), dir.path().join("mirror"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&mirror).unwrap();
    fs::write(tree.join("a.c"), "one\ntwo\n").unwrap();
    let diff = dir.path().join("x.diff");
    let text = "--- a/a.c\n+++ b/a.c\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n";
    fs::write(&diff, text).unwrap();
    let patches = Patches::read(Vec::new(), std::slice::from_ref(&diff)).unwrap();
    assert!(patches.files().contains("a.c"));
    let apply = || patches.apply(&mut Ctx::new(&cache, &mut Silent), &tree)?.copy_to(&mirror);
    let digest = apply().unwrap();
    assert_eq!(fs::read_to_string(mirror.join("a.c")).unwrap(), "one\nthree\n");
    assert_eq!(fs::read_to_string(tree.join("a.c")).unwrap(), "one\ntwo\n");
    let mtime = || fs::metadata(mirror.join("a.c")).unwrap().modified().unwrap();
    let first_mtime = mtime();
    assert_eq!(apply().unwrap(), digest);
    assert_eq!(mtime(), first_mtime);

    fs::write(tree.join("a.c"), "other\n").unwrap();
    let error = apply().unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Kernel);
    assert!(error.to_string().contains("x.diff"), "{error}");
}

#[test]
fn invalid_patches_are_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    for text in ["hello\n", "--- a/../../etc/passwd\n+++ b/../../etc/passwd\n@@ -1 +1 @@\n"] {
        fs::write(&file, text).unwrap();
        let error = Patches::read(Vec::new(), std::slice::from_ref(&file)).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input);
    }
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = Patches::read(Vec::new(), &[empty]).unwrap_err();
    assert!(error.to_string().contains("changes no file"), "{error}");
}

/// A mailbox with a cover letter and two patches.
const MAILBOX: &str = "\
From 0123 Mon Sep 17 00:00:00 2001
Subject: [PATCH 0/2] cover

 a.c | 2 ++
---
-- 
2.39

From 4567 Mon Sep 17 00:00:00 2001
Subject: [PATCH 1/2] first: a line that
 goes on

---
 a.c | 1 +
--- a/a.c
+++ b/a.c
@@ -1 +1,2 @@
 one
+two

From 89ab Mon Sep 17 00:00:00 2001
Subject: [PATCH 2/2] second

--- a/a.c
+++ b/a.c
@@ -1,2 +1,3 @@
 one
 two
+three
--- /dev/null
+++ b/d/new
@@ -0,0 +1 @@
+text
";

#[test]
fn the_mails_of_a_mailbox_are_applied_in_order_and_a_failing_mail_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(dir.path().join("cache")).unwrap();
    let (tree, mirror) = (dir.path().join("tree"), dir.path().join("mirror"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&mirror).unwrap();
    fs::write(tree.join("a.c"), "one\n").unwrap();
    let mailbox = dir.path().join("series.mbox");
    fs::write(&mailbox, MAILBOX).unwrap();
    let patches = Patches::read(Vec::new(), &[mailbox]).unwrap();
    assert_eq!(patches.label(), ", with 2 patches");
    patches.apply(&mut Ctx::new(&cache, &mut Silent), &tree).unwrap().copy_to(&mirror).unwrap();
    assert_eq!(fs::read_to_string(mirror.join("a.c")).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(fs::read_to_string(mirror.join("d/new")).unwrap(), "text\n");

    fs::write(tree.join("a.c"), "other\n").unwrap();
    let error = patches.apply(&mut Ctx::new(&cache, &mut Silent), &tree).err().unwrap().to_string();
    assert!(error.contains("[PATCH 1/2] first: a line that goes on does not apply"), "{error}");
    assert!(error.contains("a.c"), "{error}");
}

#[test]
fn patches_of_a_folder_are_sorted_and_follow_those_of_the_pinned_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let diff = |name: &str| format!("--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-1\n+2\n");
    for name in ["0002-b.patch", "0001-a.patch", "README"] {
        fs::write(dir.path().join(name), diff(name)).unwrap();
    }
    let pinned = Patch { label: "pinned".into(), text: diff("x") };
    let patches = Patches::read(vec![pinned], &[dir.path().to_owned()]).unwrap();
    let labels: Vec<_> =
        patches.patches.iter().map(|patch| patch.label.rsplit('/').next()).collect();
    assert_eq!(labels, [Some("pinned"), Some("0001-a.patch"), Some("0002-b.patch")]);
}

#[test]
fn an_encoded_mail_is_refused_and_named_by_its_subject() {
    let mail = "From x\nSubject: s\nContent-Transfer-Encoding: Base64\n\naGVsbG8=\n";
    let reason = split_mailbox("m", mail).unwrap_err().to_string();
    assert!(reason.contains("m: s is encoded as Base64"), "{reason}");
}

/// A folder with a tree, a mirror, a cache and, beside the tree, the folder `victim` with a secret.
struct Strangers {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Strangers {
    fn new() -> Strangers {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open_at(dir.path().join("cache")).unwrap();
        for folder in ["tree/real", "mirror", "victim"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("victim/secret"), "SECRET\n").unwrap();
        for name in ["a.c", "b.c", "real/c.c"] {
            fs::write(dir.path().join("tree").join(name), "one\n").unwrap();
        }
        Strangers { dir, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a symbolic link in the tree, and in the mirror as [`crate::mirror`] does.
    fn link(&self, name: &str, target: &Path) {
        for folder in ["tree", "mirror"] {
            std::os::unix::fs::symlink(target, self.path(folder).join(name)).unwrap();
        }
    }

    /// Applies patches and copies the files to the mirror.
    fn apply(&self, texts: &[&str]) -> Result<Patches, Error> {
        let folder = tempfile::tempdir_in(self.dir.path()).unwrap();
        for (number, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.patch")), text).unwrap();
        }
        let patches = Patches::read(Vec::new(), &[folder.path().to_owned()])?;
        let mut monitor = Silent;
        let mut ctx = Ctx::new(&self.cache, &mut monitor);
        patches.apply(&mut ctx, &self.path("tree"))?.copy_to(&self.path("mirror"))?;
        Ok(patches)
    }

    /// Applies patches, which must be refused as bad input and leave victim and mirror as they were.
    fn assert_refused(&self, texts: &[&str], expected: &str) {
        let before = [snapshot(&self.path("victim")), snapshot(&self.path("mirror"))];
        let error = self.apply(texts).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.fault(), crate::Fault::Input, "{error}");
        assert!([snapshot(&self.path("victim")), snapshot(&self.path("mirror"))] == before);
    }
}

/// A diff that creates the file `name` with the content `line`.
fn new_file(name: &str, line: &str) -> String {
    format!("--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{line}\n")
}

/// A diff of git that makes the symbolic link `name`.
fn new_link(name: &str, target: &Path) -> String {
    let target = target.display();
    format!(
        "diff --git a/{name} b/{name}\nnew file mode 120000\nindex 0000000..1111111\n--- /dev/null\n+++ \
         b/{name}\n@@ -0,0 +1 @@\n+{target}\n\\ No newline at end of file\n"
    )
}

#[test]
fn a_patch_that_makes_a_link_is_refused_and_nothing_is_read_through_the_link() {
    let strangers = Strangers::new();
    let secret = strangers.path("victim/secret");
    strangers.assert_refused(&[&new_link("l", &secret)], "0.patch changes l, which is");
    let submodule = new_link("m", &secret).replace("120000", "160000");
    strangers.assert_refused(&[&submodule], "0.patch changes m, which is");
}

#[test]
fn patches_follow_no_link_of_the_tree_and_wait_for_no_fifo() {
    let strangers = Strangers::new();
    strangers.link("d", &strangers.path("victim"));
    strangers.link("l", &strangers.path("victim/secret"));
    let fifo = strangers.path("tree/fifo");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    let change =
        |name: &str| format!("--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-SECRET\n+changed\n");
    let removal = "--- a/d/secret\n+++ /dev/null\n@@ -1 +0,0 @@\n-SECRET\n";
    for (text, file) in [
        (new_file("d/authorized_keys", "key"), "d/authorized_keys"),
        (change("d/secret"), "d/secret"),
        (removal.to_owned(), "d/secret"),
        (change("l"), "l"),
        (new_file("l", "x"), "l"),
        (change("fifo"), "fifo"),
    ] {
        strangers.assert_refused(&[&text], &format!("0.patch changes {file}, which is"));
    }
}

#[test]
fn a_link_that_is_in_the_mirror_only_is_not_followed() {
    let strangers = Strangers::new();
    std::os::unix::fs::symlink("../victim", strangers.path("mirror/d")).unwrap();
    strangers.assert_refused(&[&new_file("d/key", "x")], "0.patch changes d/key, which is");
}

#[test]
fn a_quoted_name_is_refused() {
    let strangers = Strangers::new();
    let text = "--- /dev/null\n+++ \"b/\\141\"\n@@ -0,0 +1 @@\n+x\n";
    strangers.assert_refused(&[text], "0.patch changes a, but no header");
}

#[test]
fn an_indented_diff_is_not_applied() {
    let strangers = Strangers::new();
    let indented = new_file("l", "x") + &new_link("k", &strangers.path("victim/secret"));
    let indented: String = indented.lines().map(|line| format!("  {line}\n")).collect();
    strangers.apply(&[&(new_file("shown", "x") + &indented), &new_file("k", "y")]).unwrap();
    assert_eq!(fs::read_to_string(strangers.path("mirror/k")).unwrap(), "y\n");
    assert!(!strangers.path("mirror/l").exists());
}

#[test]
fn renames_copies_and_empty_files_of_git_are_applied() {
    let strangers = Strangers::new();
    let text = "diff --git a/a.c b/new/a.c\nsimilarity index 100%\nrename from a.c\nrename to new/a.c\n\
                diff --git a/b.c b/copy.c\nsimilarity index 100%\ncopy from b.c\ncopy to copy.c\n\
                diff --git a/empty b/empty\nnew file mode 100644\nindex 0000000..e69de29\n";
    strangers.apply(&[text]).unwrap();
    let read = |name: &str| fs::read_to_string(strangers.path("mirror").join(name)).ok();
    assert_eq!(read("new/a.c").as_deref(), Some("one\n"));
    assert_eq!(read("copy.c").as_deref(), Some("one\n"));
    assert_eq!(read("empty").as_deref(), Some(""));
    assert_eq!(read("a.c"), None);
}

#[test]
fn a_file_that_becomes_a_folder_is_patched() {
    let strangers = Strangers::new();
    let removal = "--- a/a.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n";
    strangers.apply(&[removal, &new_file("a.c/new.c", "x")]).unwrap();
    assert_eq!(fs::read_to_string(strangers.path("mirror/a.c/new.c")).unwrap(), "x\n");
}

#[test]
fn an_ed_script_is_not_run() {
    let strangers = Strangers::new();
    let error = strangers.apply(&["--- a/a.c\n+++ b/a.c\n1c\ntwo\n.\n"]).unwrap_err().to_string();
    assert!(error.contains("0.patch does not apply"), "{error}");
    // patch(1) did not look for ed either.
    assert!(error.contains("garbage"), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn patches_change_only_the_files_that_their_headers_name(
        parts in proptest::collection::vec((0..6_usize, 0..7_usize, 0..7_usize, 0..3_usize), 1..5),
    ) {
        let strangers = Strangers::new();
        strangers.link("l", &strangers.path("victim/secret"));
        strangers.link("d", &strangers.path("victim"));
        for name in ["a.c", "b.c", "real/c.c"] {
            let copy = strangers.path("mirror").join(name);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(strangers.path("tree").join(name), copy).unwrap();
        }
        let names = ["a.c", "b.c", "real/c.c", "new", "l", "d/secret", "d/new"];
        let texts: Vec<String> = parts.iter().map(|&(kind, name, other, indent)| {
            let (name, other) = (names[name], names[other]);
            let text = match kind {
                0 => new_file(name, "x"),
                1 => new_link(name, &strangers.path("victim/secret")),
                2 => format!("--- a/{name}\n+++ b/{other}\n@@ -1 +1 @@\n-one\n+two\n"),
                3 => format!("diff --git a/{name} b/{other}\nrename from {name}\nrename to {other}\n"),
                4 => format!("diff --git a/{name} b/{other}\ncopy from {name}\ncopy to {other}\n"),
                _ => format!("--- a/{name}\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"),
            };
            let indent = &"  "[..indent];
            text.lines().map(|line| format!("{indent}{line}\n")).collect()
        }).collect();
        let text = texts.concat();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let victim = snapshot(&strangers.path("victim"));
        let mirror = snapshot(&strangers.path("mirror"));
        for texts in [&texts[..], &[&text]] {
            let result = strangers.apply(texts);
            proptest::prop_assert!(snapshot(&strangers.path("victim")) == victim);
            let changed_mirror = snapshot(&strangers.path("mirror"));
            let is_allowed = |path: &Path| {
                let name = path.strip_prefix(strangers.path("mirror")).unwrap().to_str().unwrap();
                path.is_dir() || result.as_ref().is_ok_and(|patches| patches.files().contains(name))
            };
            for (path, state) in mirror.iter().chain(&changed_mirror) {
                let is_same = mirror.get(path) == Some(state) && changed_mirror.get(path) == Some(state);
                proptest::prop_assert!(is_same || is_allowed(path), "{} changed: {text}", path.display());
            }
            proptest::prop_assert!(!changed_mirror.values().any(|state| state.3 == b"SECRET\n"));
            if result.is_ok() {
                break;
            }
        }
    }
}
