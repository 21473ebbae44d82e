// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// Creates a tree with these files.
fn tree_with(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    dir
}

/// Returns the paths of the found files, sorted.
fn found_paths(dir: &Path) -> Vec<String> {
    let mut paths: Vec<_> =
        find_source_files(dir, Arch::X86_64).unwrap().into_iter().map(|file| file.path).collect();
    paths.sort();
    paths
}

#[test]
fn build_products_are_ignored_without_a_gitignore() {
    let dir = tree_with(&[
        "Makefile",
        ".config",
        "kernel/fork.c",
        "kernel/fork.o",
        "kernel/.fork.o.cmd",
        "include/config/auto.conf",
        "arch/x86/include/generated/asm/x.h",
        "arch/x86/boot/x.c",
        "arch/arm64/kernel/x.c",
        "Documentation/Kconfig",
        "Documentation/admin-guide/x.rst",
        ".git/index",
        "other/.git/index",
        "other/x.c",
        "vmlinux",
    ]);
    assert_eq!(
        found_paths(dir.path()),
        ["Documentation/Kconfig", "Makefile", "arch/x86/boot/x.c", "kernel/fork.c"]
    );
}

#[test]
fn the_rule_of_the_nearest_gitignore_takes_precedence() {
    let dir = tree_with(&["a/gen.h", "a/b/gen.h", "a/keep.s", "b.s", "Makefile"]);
    fs::write(dir.path().join(".gitignore"), ".*\n*.s\ngen.h\n").unwrap();
    fs::write(dir.path().join("a/.gitignore"), "!keep.s\n").unwrap();
    fs::write(dir.path().join("a/b/.gitignore"), "!/gen.h\n").unwrap();
    assert_eq!(found_paths(dir.path()), ["Makefile", "a/b/gen.h", "a/keep.s"]);
}

#[test]
fn rules_that_ignore_everything_are_not_followed() {
    let dir = tree_with(&["Makefile", "kernel/fork.c", "kernel/x.o"]);
    fs::write(dir.path().join(".gitignore"), "*.o\n/*\n!/debian/\n").unwrap();
    let paths = found_paths(dir.path());
    assert!(paths.contains(&"Makefile".to_owned()) && paths.contains(&"kernel/fork.c".to_owned()));
    assert!(!paths.contains(&"kernel/x.o".to_owned()));
}

#[test]
fn an_output_directory_in_the_tree_is_ignored() {
    let dir = tree_with(&["Makefile", "build/.config", "build/x.c"]);
    std::os::unix::fs::symlink("..", dir.path().join("build/source")).unwrap();
    assert_eq!(found_paths(dir.path()), ["Makefile"]);
}

#[test]
fn a_gitignore_that_is_a_device_or_endless_has_no_rules() {
    let dir = tree_with(&["Makefile", "a/x.c"]);
    std::os::unix::fs::symlink("/dev/zero", dir.path().join(".gitignore")).unwrap();
    fs::File::create(dir.path().join("a/.gitignore")).unwrap().set_len(1 << 40).unwrap();
    let paths = found_paths(dir.path());
    assert!(paths.contains(&"Makefile".to_owned()) && paths.contains(&"a/x.c".to_owned()));
}
