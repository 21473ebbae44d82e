// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::arch::Arch;
use crate::monitor::Silent;

/// A tree and its mirror.
struct Fixture {
    _dir: tempfile::TempDir,
    tree: PathBuf,
    mirror: PathBuf,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let (tree, mirror) = (dir.path().join("tree"), dir.path().join("mirror"));
        fs::create_dir(&mirror).unwrap();
        let fixture = Fixture { _dir: dir, tree, mirror };
        for (path, text) in files {
            fixture.write(path, text);
        }
        fixture
    }

    /// Writes a file of the tree.
    fn write(&self, path: &str, text: &str) {
        let path = self.tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Sets the mtime of a file in the tree, in seconds since 1970.
    fn set_mtime(&self, path: &str, seconds: u64) {
        let file = File::options().write(true).open(self.tree.join(path)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn update_mirror(&self) -> MirrorState {
        update_mirror(&self.tree, &self.mirror, Arch::X86_64, &HashSet::new(), &mut Silent).unwrap()
    }

    /// Reads a file of the mirror.
    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.mirror.join("src").join(path)).ok()
    }

    /// The mtime of a file of the mirror.
    fn mtime(&self, path: &str) -> SystemTime {
        fs::symlink_metadata(self.mirror.join("src").join(path)).unwrap().modified().unwrap()
    }
}

#[test]
fn the_first_copy_keeps_the_mtimes() {
    let f = Fixture::new(&[("Makefile", "VERSION = 6\n"), ("kernel/fork.c", "fork")]);
    f.write("scripts/run.sh", "#!/bin/sh\n");
    let executable = fs::Permissions::from_mode(0o750);
    fs::set_permissions(f.tree.join("scripts/run.sh"), executable).unwrap();
    f.set_mtime("kernel/fork.c", 1_000_000);
    let state = f.update_mirror();
    assert_eq!(state.changed_files, 3);
    assert_eq!(f.read("kernel/fork.c").as_deref(), Some("fork"));
    assert_eq!(f.mtime("kernel/fork.c"), UNIX_EPOCH + Duration::from_secs(1_000_000));
    let mode = fs::metadata(f.mirror.join("src/scripts/run.sh")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(f.update_mirror(), MirrorState { changed_files: 0, ..state });
}

#[test]
fn a_new_mtime_with_the_old_content_changes_nothing() {
    let f = Fixture::new(&[("a.c", "a"), ("b.c", "b")]);
    let first_state = f.update_mirror();
    let mtime = f.mtime("a.c");
    // Like a checkout of another branch and back.
    fs::remove_file(f.tree.join("a.c")).unwrap();
    f.write("a.c", "a");
    f.set_mtime("a.c", 2_000_000_000);
    assert_eq!(f.update_mirror(), MirrorState { changed_files: 0, ..first_state });
    assert_eq!(f.mtime("a.c"), mtime);
}

#[test]
fn new_content_gets_the_current_time() {
    let f = Fixture::new(&[("a.c", "old"), ("b.c", "b")]);
    f.set_mtime("a.c", 1_000_000);
    let first_state = f.update_mirror();
    let start = SystemTime::now() - Duration::from_secs(1);
    // Size and mtime are the same; only the ctime differs.
    f.write("a.c", "new");
    f.set_mtime("a.c", 1_000_000);
    let second_state = f.update_mirror();
    assert_eq!((second_state.changed_files, f.read("a.c").as_deref()), (1, Some("new")));
    assert_ne!(second_state.digest, first_state.digest);
    assert!(f.mtime("a.c") >= start);
    // The former content has the former digest.
    f.write("a.c", "old");
    assert_eq!(f.update_mirror().digest, first_state.digest);
}

#[test]
fn removed_files_are_removed_and_files_and_directories_may_replace_each_other() {
    let f = Fixture::new(&[("lib/a/x.c", "x"), ("lib/b.c", "b"), ("c", "c")]);
    let first_state = f.update_mirror();
    fs::remove_dir_all(f.tree.join("lib/a")).unwrap();
    fs::remove_file(f.tree.join("c")).unwrap();
    f.write("lib/a", "now a file");
    f.write("c/d", "now a directory");
    assert_eq!(f.update_mirror().changed_files, 4);
    assert_eq!(f.read("lib/a").as_deref(), Some("now a file"));
    assert_eq!(f.read("c/d").as_deref(), Some("now a directory"));
    fs::remove_dir_all(f.tree.join("c")).unwrap();
    fs::remove_file(f.tree.join("lib/a")).unwrap();
    f.write("lib/a/x.c", "x");
    f.write("c", "c");
    assert_eq!(f.update_mirror().digest, first_state.digest);
}

#[test]
fn links_inside_the_tree_are_kept_and_links_outside_made_absolute() {
    let f = Fixture::new(&[("include/a.h", "a")]);
    symlink("../include", f.tree.join("include/self")).unwrap();
    symlink("../../outside", f.tree.join("include/out")).unwrap();
    f.update_mirror();
    let target = |path: &str| fs::read_link(f.mirror.join("src").join(path)).unwrap();
    assert_eq!(target("include/self"), Path::new("../include"));
    assert_eq!(target("include/out"), f.tree.join("include/../../outside"));
    assert_eq!(f.update_mirror().changed_files, 0);
}

#[test]
fn only_kconfig_files_change_the_kconfig_digest() {
    let f = Fixture::new(&[("lib/Kconfig.debug", "a"), ("lib/x.c", "x")]);
    let first_state = f.update_mirror();
    f.write("lib/x.c", "y");
    let second_state = f.update_mirror();
    assert_eq!(second_state.kconfig, first_state.kconfig);
    f.write("lib/Kconfig.debug", "b");
    assert_ne!(f.update_mirror().kconfig, first_state.kconfig);
}

#[test]
fn files_of_a_killed_run_are_copied_again() {
    let f = Fixture::new(&[("a.c", "old"), ("b.c", "b")]);
    let first_state = f.update_mirror();
    // The state after a run was killed: an index without the file, and a partly written file.
    let index_path = f.mirror.join("index");
    let mut index = read_index(&index_path).unwrap();
    index.remove("a.c");
    write_index(&index_path, &index).unwrap();
    fs::write(f.mirror.join("src/a.c"), "ne").unwrap();
    assert_eq!(f.update_mirror().digest, first_state.digest);
    assert_eq!(f.read("a.c").as_deref(), Some("old"));
    // With an invalid index, everything is copied.
    fs::write(&index_path, "sudbox mirror 1\nbroken").unwrap();
    fs::write(f.mirror.join("src/stray.c"), "").unwrap();
    assert_eq!(f.update_mirror().digest, first_state.digest);
    assert_eq!(f.read("stray.c"), None);
}

#[test]
fn an_update_after_an_interrupt_completes_the_copy() {
    let names: Vec<String> = (0..4000).map(|number| format!("f{number}.c")).collect();
    let f = Fixture::new(&names.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
    let mut interrupted = crate::monitor::tests::Interrupted::new();
    let no_patches = HashSet::new();
    let result = update_mirror(&f.tree, &f.mirror, Arch::X86_64, &no_patches, &mut interrupted);
    // The copy may be complete before the first check for an interrupt.
    if let Err(error) = result {
        assert_eq!(error.fault(), crate::Fault::Interrupted);
    }
    f.update_mirror();
    assert_eq!(fs::read_dir(f.mirror.join("src")).unwrap().count(), 4000);
}

#[test]
fn files_that_patches_write_are_not_updated() {
    let f = Fixture::new(&[("a.c", "tree"), ("b.c", "b")]);
    let patched_paths = HashSet::from(["a.c".to_owned()]);
    fs::create_dir_all(f.mirror.join("src")).unwrap();
    let update =
        || update_mirror(&f.tree, &f.mirror, Arch::X86_64, &patched_paths, &mut Silent).unwrap();
    update();
    fs::write(f.mirror.join("src/a.c"), "patched").unwrap();
    f.write("a.c", "changed");
    assert_eq!(update().changed_files, 0);
    assert_eq!(f.read("a.c").as_deref(), Some("patched"));
}
