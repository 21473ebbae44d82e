// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::cache::Cache;
use crate::monitor::Silent;

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
