// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox bisect` on a long history of a real kernel, with branches and with commits that do not
//! build or boot; in one piece, and resumed after a kill.

use std::process::Command;
use sudbox_tests::history::{AUTHOR, Commit, History};
use sudbox_tests::{RunOutput, file_metadata, print_uncaptured, run, start, sudbox};

const MAIN: &str = "kernel/entry/common.c";
const BOOT: &str = "init/main.c";
const SIDE: &str = "init/calibrate.c";
const DISPATCH: &str = "kernel/entry/syscall_user_dispatch.c";
const OTHER: &str = "lib/ctype.c";
const CULPRIT: &str = "x86/entry: clear the carry flag";
const FIX: &str = "x86/entry: leave the carry flag alone";

/// Adds a commit with a file that does not compile.
fn break_build(history: &History, parent: &Commit, subject: &str, name: &str) -> Commit {
    history.edit(parent, subject, name, |text| format!("{text}\n#error not yet\n"))
}

/// Adds a commit that undoes [`break_build`].
fn mend_build(history: &History, parent: &Commit, subject: &str, name: &str) -> Commit {
    history.edit(parent, subject, name, |text| text.replace("\n#error not yet\n", ""))
}

/// Creates a history of 37 commits, with tags for the ends of bisections. A comment with the current
/// time makes every commit new, so that every step has something to build.
fn create(history: &History) -> Commits {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("a clock").as_nanos();
    let comment =
        |parent: &Commit, subject: &str, file: &str| history.comment(parent, subject, file);
    let fine = comment(&history.release(), &format!("fine, {now}"), MAIN);
    history.tag("fine", &fine);

    let one = comment(&fine, "entry: a comment", MAIN);
    let two = comment(&one, "entry: another comment", MAIN);
    // A branch that does not build in its middle.
    let side = comment(&one, "calibrate: a comment", SIDE);
    let wip = break_build(history, &side, "calibrate: work in progress", SIDE);
    let side = comment(&wip, "calibrate: still in progress", SIDE);
    history.tag("unbuildable", &side);
    let side = mend_build(history, &side, "calibrate: done", SIDE);
    let merged = history.merge(&two, &side, &[SIDE], "Merge calibrate");
    let four = comment(&merged, "entry: four", MAIN);
    // Commits that do not boot, for a reason other than the culprit.
    let panic = "\tdo_sysctl_args();\n\tpanic(\"not yet\");\n";
    let five = history
        .edit(&four, "init: check more", BOOT, |text| text.replace("\tdo_sysctl_args();\n", panic));
    let six = comment(&five, "entry: six", MAIN);
    let seven = comment(&six, "entry: seven", MAIN);
    let eight = comment(&seven, "entry: eight", MAIN);
    let nine = comment(&eight, "entry: nine", MAIN);
    history.tag("unbootable", &nine);
    // The culprit, on a branch.
    let dispatch = comment(&four, "ctype: a comment", OTHER);
    let before = comment(&dispatch, "ctype: another comment", OTHER);
    let culprit = history.apply(&before, CULPRIT, "flags-cleared.patch");
    let after = comment(&culprit, "ctype: a last comment", OTHER);
    let merged = history.merge(&nine, &after, &[OTHER, DISPATCH], "Merge x86/entry");
    let eleven = history.edit(&merged, "init: check less", BOOT, |text| {
        text.replace(panic, "\tdo_sysctl_args();\n")
    });
    let twelve = break_build(history, &eleven, "entry: twelve", MAIN);
    let thirteen = comment(&twelve, "entry: thirteen", MAIN);
    let fourteen = mend_build(history, &thirteen, "entry: fourteen", MAIN);
    let side = comment(&eleven, "calibrate: one more", SIDE);
    let side = comment(&side, "calibrate: and one", SIDE);
    let merged = history.merge(&fourteen, &side, &[SIDE], "Merge calibrate again");
    let mut broken = merged;
    for number in 16..21 {
        broken = comment(&broken, &format!("entry: {number}"), MAIN);
    }
    history.tag("broken", &broken);

    let mended = comment(&broken, "entry: a comment on a bug", MAIN);
    let mended = break_build(history, &mended, "entry: towards a fix", MAIN);
    let mended = comment(&mended, "entry: further towards a fix", MAIN);
    let mended = mend_build(history, &mended, "entry: near a fix", MAIN);
    let fix = history.edit(&mended, FIX, DISPATCH, |text| {
        text.replace("\tregs->flags &= ~X86_EFLAGS_CF;\n", "")
    });
    let mended = comment(&fix, "entry: a comment on a fix", MAIN);
    history.tag("mended", &mended);
    Commits { wip, panics: five, before, culprit, fix }
}

/// Commits that the tests compare with the results.
struct Commits {
    wip: Commit,
    panics: Commit,
    before: Commit,
    culprit: Commit,
    fix: Commit,
}

fn bisect(history: &History, arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(["bisect", "--backend", "tcg", "--linux", history.argument()]).args(arguments);
    command
}

fn resume() -> Command {
    let mut command = sudbox();
    command.args(["bisect", "--resume"]);
    command
}

/// Checks the commit that a bisection names; `word` is `bad` or `new`.
#[track_caller]
fn check_commit(result: &RunOutput, word: &str, commit: &Commit, subject: &str) {
    print_uncaptured(&result.stdout);
    let first = format!("The first {word} commit between ");
    assert!(result.stdout.starts_with(&first), "{}", result.stdout);
    for line in [
        format!("  commit    {}\n", commit.id),
        format!("  author    {AUTHOR}\n"),
        format!("  subject   {subject}\n"),
    ] {
        assert!(result.stdout.contains(&line), "{line}{}", result.stdout);
    }
}

/// Seconds of `make`, of the VM and of the rest, for every step except the ends.
fn steps(result: &RunOutput) -> Vec<[f64; 3]> {
    let table = result.stdout.split_once("\n  bad end ").expect("a table of steps").1;
    let lines = table.lines().skip(1).take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [3, 5, 7].map(|index| words[index].parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

#[test]
fn the_commit_is_found_after_a_kill_without_interruption_and_in_both_directions() {
    let history = History::wait_for("6.12");
    let commits = create(&history);
    let count = history.git(&["rev-list", "--count", "fine..mended"]);
    assert!(count.parse::<u32>().expect("a number") >= 24, "{count}");
    // A work tree and an index with unrelated changes, which must stay as they are.
    history.git(&["read-tree", "release"]);
    history.git(&["update-ref", "refs/heads/work", "release"]);
    history.git(&["checkout-index", "--force", "Makefile", MAIN, BOOT]);
    std::fs::write(history.path().join(MAIN), "what somebody is working on\n").unwrap();
    history.git(&["add", MAIN]);
    std::fs::write(history.path().join(BOOT), "and this is not added yet\n").unwrap();
    let before = file_metadata(history.path());

    // Killed during a build, resumed, interrupted, and resumed again.
    let ends = ["--good", "fine", "--bad", "broken", "--cases", "registers,siginfo"];
    for (command, step, signal, code) in [
        (bisect(&history, &ends), "step  2 of about", libc::SIGKILL, 128 + libc::SIGKILL),
        (resume(), "step  4 of about", libc::SIGINT, 130),
    ] {
        let mut running = start(command);
        running.wait_for_in_order(&[step, "building what changed"]);
        running.signal(signal);
        let stopped = running.finish().expect_code(code);
        assert!(signal == libc::SIGKILL || stopped.stderr.contains("`sudbox bisect --resume`"));
    }
    let resumed = run(resume()).expect_code(0);
    check_commit(&resumed, "bad", &commits.culprit, CULPRIT);
    assert!(!resumed.stderr.contains("step  3 of about"), "{}", resumed.stderr);
    assert!(resumed.stdout.contains("  sought    registers/flags-kept: pass, then fail\n"));
    let before_it = format!("  before it {:.12} ctype: another comment", commits.before.id);
    assert!(resumed.stdout.contains(&before_it), "{}", resumed.stdout);

    // A bisection without interruption takes the same steps and rebuilds nothing.
    let whole = run(bisect(&history, &ends)).expect_code(0);
    check_commit(&whole, "bad", &commits.culprit, CULPRIT);
    assert_eq!(steps(&whole).len(), steps(&resumed).len());
    for [make, _, rest] in steps(&whole) {
        assert!(make < 10.0 && rest < 10.0, "{}", whole.stdout);
    }

    let skips = "skip: this kernel does not boot: Kernel panic - not syncing: not yet";
    assert!(whole.stderr.contains(skips), "{}", whole.stderr);

    // `git bisect replay` accepts the log.
    let log = whole.stdout.lines().find_map(|line| line.strip_prefix("  git bisect replay "));
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("copy");
    history.git(&["clone", "--quiet", "--shared", "--no-checkout", ".", copy.to_str().unwrap()]);
    let in_copy = ["-C", copy.to_str().unwrap()];
    history.git(&[&in_copy[..], &["config", "core.sparseCheckout", "true"]].concat());
    let output = history.git(&[&in_copy[..], &["bisect", "replay", log.unwrap()]].concat());
    assert!(
        output.contains(&format!("{} is the first bad commit", commits.culprit.id)),
        "{output}"
    );

    // The good end is newer than the bad end, so the bisection finds the fix.
    let fixed = run(bisect(&history, &["--good", "mended", "--bad", "broken"])).expect_code(0);
    check_commit(&fixed, "new", &commits.fix, FIX);
    assert!(!fixed.stderr.contains("the other way round"), "{}", fixed.stderr);
    assert!(fixed.stderr.contains("skip: this kernel does not build"), "{}", fixed.stderr);

    // If the bad end does not boot or build, the bisection finds the commit that broke the boot or build.
    let boots = run(bisect(&history, &["--good", "fine", "--bad", "unbootable"])).expect_code(0);
    check_commit(&boots, "bad", &commits.panics, "init: check more");
    assert!(boots.stdout.contains("  sought    boot/reaches-init: pass, then fail\n"));
    let builds = run(bisect(&history, &["--good", "fine", "--bad", "unbuildable"])).expect_code(0);
    check_commit(&builds, "bad", &commits.wip, "calibrate: work in progress");
    assert!(builds.stdout.contains("  sought    build: pass, then fail\n"));

    assert_eq!(before, file_metadata(history.path()), "the user's repository was written to");
}
