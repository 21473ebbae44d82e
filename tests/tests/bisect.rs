//! `git bisect run sudbox run ...` as it is, on a made-up history.

use std::path::Path;
use std::process::Command;
use sudbox_tests::{Tree, run, sudbox_run};

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

/// Changes one file and commits it.
fn commit(tree: &Tree, subject: &str, file: &str, change: impl FnOnce(&str) -> String) {
    tree.edit(file, change);
    git(tree.path(), &["commit", "--quiet", "--all", "--message", subject]);
}

const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";
const MAIN: &str = "init/main.c";
const PANIC: &str = "\tdo_sysctl_args();\n\tpanic(\"not yet\");\n";

#[test]
fn git_bisect_run_finds_the_commit_and_stops_when_the_machine_is_at_fault() {
    let held = Tree::with(&[]);
    let tree = held.path();
    git(tree, &["init", "--quiet"]);
    // The files that change are enough of a history; the rest is there but not tracked.
    git(tree, &["add", "--force", "kernel/entry", MAIN]);
    git(tree, &["commit", "--quiet", "--message", "good"]);
    git(tree, &["tag", "good"]);
    commit(&held, "a comment", DISPATCH, |text| format!("{text}\n/* a comment */\n"));
    commit(&held, "does not build", DISPATCH, |text| format!("{text}\n#error not yet\n"));
    commit(&held, "builds again", DISPATCH, |text| text.replace("\n#error not yet\n", ""));
    commit(&held, "does not boot", MAIN, |text| text.replace("\tdo_sysctl_args();\n", PANIC));
    commit(&held, "boots again", MAIN, |text| text.replace(PANIC, "\tdo_sysctl_args();\n"));
    held.apply("hook-removed.patch");
    git(tree, &["commit", "--quiet", "--all", "--message", "removes the hook"]);
    commit(&held, "another comment", DISPATCH, |text| format!("{text}\n/* another */\n"));
    git(tree, &["tag", "bad"]);

    let judge = sudbox_run(&[held.argument(), "--cases", "registers,siginfo"]);
    let words: Vec<String> = std::iter::once(judge.get_program())
        .chain(judge.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let bisect = |path: Option<&str>| {
        git(tree, &["bisect", "start", "bad", "good"]);
        let mut command = Command::new("git");
        command.args(["bisect", "run"]).args(&words).current_dir(tree);
        if let Some(path) = path {
            // git itself and what it needs, but no QEMU.
            command.env("PATH", path);
        }
        let ran = run(command);
        git(tree, &["bisect", "reset"]);
        ran
    };
    let ran = bisect(None).expect(0);
    assert!(ran.stdout.contains("is the first bad commit"), "{}", ran.stdout);
    assert!(ran.stdout.contains("    removes the hook"), "{}", ran.stdout);

    // 128 and more stop git bisect: a machine without QEMU must not call a commit good or bad.
    let bin = tempfile::tempdir().unwrap();
    for program in ["git", "sh", "sed", "cat", "grep", "basename", "dirname", "tr", "wc", "printf"]
    {
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
