// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::fs;
use std::process::Command;

use crate::monitor::Silent;
use crate::testing::{Fixture, snapshot};
use crate::types::Request;

#[test]
fn a_tree_with_files_of_an_in_tree_build_is_built_and_not_changed() {
    let f = Fixture::new();
    // Files of an in-tree build, with which `make O=` refuses the tree as not clean.
    f.write(".config", "CONFIG_THEIRS=y\n");
    f.write("include/config/auto.conf", "CONFIG_THEIRS=y\n");
    f.write("kernel/fork.o", "not an object");
    f.write("kernel/.fork.o.cmd", "");
    for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "x"]] {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]).arg(f.tree());
        assert!(git.args(arguments).status().unwrap().success());
    }
    // An index that `git status` would refresh.
    f.write("kernel/exit.c", "int leave(void) { return 2; }\n");
    let before = snapshot(&f.tree());
    let image = f.kernel().unwrap();
    assert!(image.is_newly_built && image.kernel.is_file() && image.vmlinux.unwrap().is_file());
    assert_eq!(image.release.as_deref(), Some("6.12.3"));
    assert!(image.source.contains("HEAD "), "{}", image.source);
    let config = fs::read_to_string(image.config.unwrap()).unwrap();
    assert!(config.contains("CONFIG_EMBEDDED=y") && !config.contains("THEIRS"));
    assert!(!f.kernel().unwrap().is_newly_built, "the second call finds the image in the cache");
    assert_eq!(snapshot(&f.tree()), before);
    f.assert_no_unfinished_files();
}

#[test]
fn patches_are_applied_in_the_mirror_only() {
    let f = Fixture::new();
    let unpatched = f.kernel().unwrap();
    let before = snapshot(&f.tree());
    let patch = f.dir.path().join("x.patch");
    let text = "--- a/kernel/fork.c\n+++ b/kernel/fork.c\n@@ -1 +1 @@\n\
                -int entry(void) { return 1; }\n+int entry(void) { return 9; }\n";
    fs::write(&patch, text).unwrap();
    let request = Request { patches: vec![patch], ..f.request() };
    let patched = f.build(&request, &mut Silent).unwrap();
    assert!(patched.is_newly_built && patched.source.contains("x.patch"));
    assert_ne!(fs::read(patched.kernel).unwrap(), fs::read(unpatched.kernel).unwrap());
    assert!(!f.build(&request, &mut Silent).unwrap().is_newly_built);
    assert_eq!(snapshot(&f.tree()), before);
}
