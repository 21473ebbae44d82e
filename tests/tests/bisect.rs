//! `git bisect run sudbox run ...` as it is, on a made-up history.

use std::path::Path;
use std::process::Command;
use sudbox_tests::{apply, replace, run, sudbox_run, tree};

fn git(tree: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.compression=0"])
        .args(["-c", "gc.auto=0", "-c", "advice.detachedHead=false"])
        .args(arguments)
        .current_dir(tree)
        .output()
        .expect("git is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {text}{error}");
    text
}

/// Commits what `change` does to one file of the dispatch code.
fn commit(tree: &Path, subject: &str, change: impl FnOnce(String) -> String) {
    let file = tree.join("kernel/entry/syscall_user_dispatch.c");
    let text = std::fs::read_to_string(&file).unwrap();
    replace(&file, change(text).as_bytes());
    git(tree, &["commit", "--quiet", "--all", "--message", subject]);
}

#[test]
fn git_bisect_run_finds_the_commit_and_stops_when_the_machine_is_at_fault() {
    let tree = tree("bisected", &[]);
    let path = tree.to_str().unwrap();
    let _ = std::fs::remove_dir_all(tree.join(".git"));
    git(&tree, &["init", "--quiet"]);
    // The files that a build reads are enough of a history; the rest is there but not tracked.
    git(&tree, &["add", "--force", "kernel/entry", "init/main.c"]);
    git(&tree, &["commit", "--quiet", "--message", "good"]);
    git(&tree, &["tag", "good"]);
    commit(&tree, "a comment", |text| text + "\n/* a comment */\n");
    commit(&tree, "does not build", |text| text + "\n#error not yet\n");
    commit(&tree, "builds again", |text| text.replace("\n#error not yet\n", ""));
    let entry = std::fs::read(tree.join("init/main.c")).unwrap();
    replace(
        &tree.join("init/main.c"),
        String::from_utf8(entry.clone())
            .unwrap()
            .replace("\tdo_sysctl_args();\n", "\tdo_sysctl_args();\n\tpanic(\"not yet\");\n")
            .as_bytes(),
    );
    git(&tree, &["commit", "--quiet", "--all", "--message", "does not boot"]);
    replace(&tree.join("init/main.c"), &entry);
    git(&tree, &["commit", "--quiet", "--all", "--message", "boots again"]);
    apply(&tree, "hook-removed.patch");
    git(&tree, &["commit", "--quiet", "--all", "--message", "removes the hook"]);
    commit(&tree, "another comment", |text| text + "\n/* another */\n");
    git(&tree, &["tag", "bad"]);

    let judge = sudbox_run(&[path, "--cases", "registers,siginfo"]);
    let words: Vec<String> = std::iter::once(judge.get_program())
        .chain(judge.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let bisect = |path: Option<&str>| {
        git(&tree, &["bisect", "start", "bad", "good"]);
        let mut command = Command::new("git");
        command.args(["bisect", "run"]).args(&words).current_dir(&tree);
        if let Some(path) = path {
            // git itself and what it needs, but no QEMU.
            command.env("PATH", path);
        }
        let ran = run(command);
        git(&tree, &["bisect", "reset", "--quiet"]);
        ran
    };
    let ran = bisect(None).expect(0);
    assert!(ran.stdout.contains("is the first bad commit"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    removes the hook"), "{}", ran.stdout);

    // 128 and more stop git bisect: a machine without QEMU must not call a commit good or bad.
    let bin = tempfile::tempdir().unwrap();
    for program in ["git", "sh", "sed", "cat", "grep", "basename", "dirname", "tr", "wc", "printf"] {
        for dir in ["/usr/bin", "/bin"] {
            let from = Path::new(dir).join(program);
            let to = bin.path().join(program);
            if from.exists() && !to.exists() {
                std::os::unix::fs::symlink(from, to).unwrap();
            }
        }
    }
    let ran = bisect(bin.path().to_str());
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert!(!ran.stdout.contains("is the first bad commit"), "{}", ran.stdout);
}
