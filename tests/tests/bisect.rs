// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `git bisect run sudbox run ...` and `sudbox bisect` on made-up histories.

use std::path::Path;
use std::process::Command;
use sudbox_tests::history::History;
use sudbox_tests::{RunOutput, Tree, file_metadata, git, run, start, sudbox, sudbox_run};

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
    let tree = Tree::with_faults(&[]);
    git(tree.path(), &["init", "--quiet"]);
    // Only the files that change are tracked.
    git(tree.path(), &["add", "--force", "kernel/entry", MAIN]);
    git(tree.path(), &["commit", "--quiet", "--message", "good"]);
    git(tree.path(), &["tag", "good"]);
    commit(&tree, "a comment", DISPATCH, |text| format!("{text}\n/* a comment */\n"));
    commit(&tree, "does not build", DISPATCH, |text| format!("{text}\n#error not yet\n"));
    commit(&tree, "builds again", DISPATCH, |text| text.replace("\n#error not yet\n", ""));
    commit(&tree, "does not boot", MAIN, |text| text.replace("\tdo_sysctl_args();\n", PANIC));
    commit(&tree, "boots again", MAIN, |text| text.replace(PANIC, "\tdo_sysctl_args();\n"));
    tree.apply_fault("hook-removed.patch");
    git(tree.path(), &["commit", "--quiet", "--all", "--message", "removes the hook"]);
    commit(&tree, "another comment", DISPATCH, |text| format!("{text}\n/* another */\n"));
    git(tree.path(), &["tag", "bad"]);

    let sudbox_command = sudbox_run(&[tree.argument(), "--cases", "registers,siginfo"]);
    let words: Vec<String> = std::iter::once(sudbox_command.get_program())
        .chain(sudbox_command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let bisect = |path: Option<&str>| {
        git(tree.path(), &["bisect", "start", "bad", "good"]);
        let mut command = Command::new("git");
        command.args(["bisect", "run"]).args(&words).current_dir(tree.path());
        if let Some(path) = path {
            // A PATH with git and the programs that it needs, but without QEMU.
            command.env("PATH", path);
        }
        let result = run(command);
        git(tree.path(), &["bisect", "reset"]);
        result
    };
    let result = bisect(None).expect_code(0);
    assert!(result.stdout.contains("is the first bad commit"), "{}", result.stdout);
    assert!(result.stdout.contains("    removes the hook"), "{}", result.stdout);

    // Without QEMU, sudbox exits with 128. An exit code from 128 on stops git bisect.
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
    let result = bisect(bin.path().to_str());
    assert_ne!(result.code, 0, "{}", result.stdout);
    assert!(!result.stdout.contains("is the first bad commit"), "{}", result.stdout);
}

fn bisect(history: &History, arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command
        .args(["bisect", "--cases", "siginfo", "--confirm", "1", "--linux"])
        .arg(history.path())
        .args(arguments);
    command
}

/// Checks the commit that a bisection names; `word` is `bad` or `new`.
#[track_caller]
fn check_commit(result: &RunOutput, word: &str, id: &str) {
    let names_commit = result.stdout.starts_with(&format!("The first {word} commit between "))
        && result.stdout.contains(&format!("  commit    {id}\n"));
    assert!(names_commit, "{}{}", result.stdout, result.stderr);
}

#[test]
fn sudbox_bisect_finds_the_commit_and_resumes_after_a_kill() {
    let history = History::wait_for("6.12");
    let fine = history.comment(&history.release(), "short: fine", DISPATCH);
    let unbuildable = history.edit(&fine, "short: not building", DISPATCH, |text| {
        text.replace("info.si_errno = 0;", "info.si_errno = nothing;")
    });
    let builds = history.edit(&unbuildable, "short: builds", DISPATCH, |text| {
        text.replace("info.si_errno = nothing;", "info.si_errno = 0;")
    });
    let culprit = history.apply(&builds, "short: breaks", "siginfo-errno.patch");
    let broken = history.comment(&culprit, "short: broken", DISPATCH);
    let fix = history.edit(&broken, "short: mends", DISPATCH, |text| {
        text.replace("info.si_errno = ENOSYS;", "info.si_errno = 0;")
    });
    let mended = history.comment(&fix, "short: mended", DISPATCH);
    for (name, node) in
        [("short-fine", &fine), ("short-broken", &broken), ("short-mended", &mended)]
    {
        history.tag(name, node);
    }
    let before = file_metadata(history.path());

    let mut running = start(bisect(&history, &["--good", "short-fine", "--bad", "short-broken"]));
    running.wait_for("step  1 of about");
    running.signal(libc::SIGKILL);
    let _ = running.finish().expect_code(128 + libc::SIGKILL);
    let mut command = sudbox();
    command.args(["bisect", "--resume", "--linux", history.argument()]);
    let result = run(command).expect_code(0);
    check_commit(&result, "bad", &culprit.id);
    assert!(
        result.stdout.contains("  sought    siginfo/code: pass, then fail\n"),
        "{}",
        result.stdout
    );
    assert!(!result.stderr.contains("end  good"), "an end was judged again: {}", result.stderr);

    let result =
        run(bisect(&history, &["--good", "short-broken", "--bad", "short-mended"])).expect_code(0);
    check_commit(&result, "new", &fix.id);
    assert!(result.stderr.contains("the ends are the other way round"), "{}", result.stderr);

    let result =
        run(bisect(&history, &["--good", "short-fine", "--bad", "short-mended"])).expect_code(129);
    assert!(result.stderr.contains("nothing differs between short-fine and short-mended"));
    assert_eq!(before, file_metadata(history.path()), "the user's repository was written to");
}

#[test]
fn invalid_bisections_are_refused_in_one_line_and_leave_nothing_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let linux = dir.path().join("linux");
    std::fs::create_dir(&linux).unwrap();
    for folder in ["kernel", "not"] {
        std::fs::create_dir(linux.join(folder)).unwrap();
    }
    for name in ["Makefile", "Kconfig", "kernel/fork.c"] {
        std::fs::write(linux.join(name), "VERSION = 6\nPATCHLEVEL = 12\n").unwrap();
    }
    git(&linux, &["init", "--quiet"]);
    git(&linux, &["add", "."]);
    git(&linux, &["commit", "--quiet", "--message", "one"]);
    git(&linux, &["tag", "one"]);
    git(&linux, &["commit", "--quiet", "--allow-empty", "--message", "two"]);
    git(&linux, &["rm", "--quiet", "Makefile"]);
    git(&linux, &["commit", "--quiet", "--message", "three"]);
    git(&linux, &["tag", "no-makefile"]);
    let url = format!("file://{}", linux.display());
    git(dir.path(), &["clone", "--quiet", "--depth", "1", &url, "shallow"]);

    let cache = dir.path().join("cache");
    let check_refusal = |tree: &str, arguments: &[&str], word: &str| {
        let mut command = sudbox();
        command.args(["bisect", "--linux"]).arg(dir.path().join(tree)).args(arguments);
        let result = run({
            command.env("SUDBOX_CACHE", &cache);
            command
        })
        .expect_code(129);
        assert!(
            result.stdout.is_empty() && result.stderr.lines().count() == 1,
            "{}",
            result.stderr
        );
        assert!(result.stderr.contains(word), "{}", result.stderr);
    };
    check_refusal("linux", &["--good", "one", "--bad", "v99"], "no commit `v99`");
    check_refusal("linux", &["--good", "-x", "--bad", "one"], "no commit `-x`");
    check_refusal("linux", &["--good", "one", "--bad", "--all"], "no commit `--all`");
    check_refusal("linux", &["--good", "one", "--bad", "no-makefile"], "no Makefile");
    check_refusal("linux", &["--good", "one", "--bad", "one^0"], "the same commit");
    check_refusal("linux", &["--good", "one"], "(BAD=) is missing");
    check_refusal(
        "linux",
        &["--good", "one", "--bad", "one~0", "--cases", "selektor"],
        "`selektor`",
    );
    let without_recording = ["--good", "one", "--bad", "one~0", "--cases", "siginfo", "--changed"];
    check_refusal("linux", &without_recording, "none of these cases is recorded");
    check_refusal("linux", &["--resume"], "no bisection");
    check_refusal("shallow", &["--good", "HEAD", "--bad", "HEAD"], "shallow");
    check_refusal("cache", &["--good", "HEAD", "--bad", "HEAD"], "not a git repository");
    for folder in ["trees", "locks", "tmp", "bisections"] {
        let left = std::fs::read_dir(cache.join(folder)).into_iter().flatten().count();
        assert_eq!(left, 0, "in {folder}");
    }
}
