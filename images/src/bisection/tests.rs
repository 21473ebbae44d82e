// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of bisections by git in a repository with the fixture's tree.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::arch::{self, Arch};
use crate::bisection::{Bisection, BisectionTerms, Mark, NextStep};
use crate::error::{Error, Fault};
use crate::history::{Commit, History};
use crate::monitor::Silent;
use crate::testing::{Fixture, snapshot};
use crate::types::{KernelImage, Request};

/// A repository with a history of `kernel/fork.c`.
struct Repository {
    fixture: Fixture,
}

impl Repository {
    /// Creates a repository with `count` commits; see [`Repository::commit`].
    fn new(count: u32) -> Repository {
        let repository = Repository { fixture: Fixture::new() };
        repository.git(&["init", "-q", "-b", "main"]);
        for number in 1..=count {
            repository.commit(number);
        }
        repository
    }

    fn path(&self) -> PathBuf {
        self.fixture.tree()
    }

    fn git(&self, arguments: &[&str]) {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-C"])
            .arg(self.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Creates a commit with the tag `vNUMBER`, whose function returns NUMBER.
    fn commit(&self, number: u32) {
        self.fixture.write("kernel/fork.c", &format!("int entry(void) {{ return {number}; }}\n"));
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", &format!("returns {number}")]);
        self.git(&["tag", &format!("v{number}")]);
    }

    fn open(&self) -> Result<History<'_>, Error> {
        let mut history = History::open(&self.fixture.cache, &self.path())?;
        history.lock(&mut Silent)?;
        Ok(history)
    }

    /// Opens the repository, which must fail. Returns the error's message.
    fn open_error(&self) -> String {
        let error = self.open().unwrap_err();
        assert_eq!(error.fault(), Fault::Input, "{error}");
        error.to_string()
    }
}

/// Builds the kernel of a commit.
fn kernel(history: &History<'_>, commit: &Commit) -> KernelImage {
    history.kernel(&Request::default(), commit, &mut Silent).unwrap()
}

/// Bisects until the end, with the mark that `judge` returns for each commit's subject. Returns the
/// result, git's log and the number of judged commits.
fn bisect(
    history: &History<'_>,
    terms: BisectionTerms,
    (old, new): (&str, &str),
    judge: impl Fn(&str) -> Mark,
) -> (NextStep, String, usize) {
    let (old, new) = (history.commit(old).unwrap(), history.commit(new).unwrap());
    let (bisection, mut next) =
        Bisection::begin(history, terms, &old.id, &new.id, &mut Silent).unwrap();
    let mut steps = 0;
    while let NextStep::Judge(commit, commits_left) = &next {
        assert!(*commits_left > 0 && steps < 20);
        steps += 1;
        let mark = judge(&history.commit(commit).unwrap().subject);
        next = bisection.mark(commit, mark, &mut Silent).unwrap();
    }
    (next, bisection.log(&mut Silent).unwrap().join("\n"), steps)
}

#[test]
fn commits_are_built_in_one_slot_and_the_repository_is_only_read() {
    let repository = Repository::new(3);
    repository.fixture.write("kernel/fork.c", "an uncommitted change\n");
    repository.fixture.write("kernel/new.c", "an untracked file\n");
    let before = snapshot(&repository.path());
    let history = repository.open().unwrap();
    let [first, second] = ["v1", "main~1"].map(|name| history.commit(name).unwrap());
    assert_eq!(second.subject, "returns 2");
    assert_eq!(second.author, "A <a@example.org>");
    let image = kernel(&history, &first);
    assert!(image.is_newly_built && !image.make_duration.is_zero());
    assert!(image.source.contains(&first.id[..12]), "{}", image.source);
    let image = kernel(&history, &second);
    let log = fs::read_to_string(image.build_log.unwrap()).unwrap();
    assert!(log.contains("kernel/fork.o") && !log.contains("kernel/exit.o"), "{log}");
    let cached = kernel(&history, &first);
    assert!(!cached.is_newly_built && cached.make_duration.is_zero());
    let request_by_commit = Request {
        reference: first.id.clone(),
        linux: Some(repository.path()),
        ..Request::default()
    };
    let image = repository.fixture.build(&request_by_commit, &mut Silent).unwrap();
    assert!(!image.is_newly_built, "bisections and other requests share images");
    assert!(history.is_ancestor(&first, &second) && !history.is_ancestor(&second, &first));
    assert_eq!(before, snapshot(&repository.path()));
}

#[test]
fn kernels_of_another_architecture_are_built_by_the_cross_compiler() {
    let repository = Repository::new(1);
    let history = repository.open().unwrap();
    let arch = Arch::ALL.into_iter().find(|arch| Some(*arch) != Arch::host()).unwrap();
    let request = Request { arch, ..Request::default() };
    // Either the cross compiler is missing, or make gets its prefix and fails later.
    let commit = history.commit("v1").unwrap();
    let message = history.kernel(&request, &commit, &mut Silent).unwrap_err().to_string();
    let slots = fs::read_dir(history.dir().join("src")).unwrap().flatten();
    let environments: String =
        slots.filter_map(|slot| fs::read_to_string(slot.path().join("environment")).ok()).collect();
    let prefix = arch::facts(arch).cross_compile;
    assert!(
        environments.contains(&format!("CROSS_COMPILE={prefix}"))
            || message.contains(&format!("{prefix}gcc")),
        "{environments}{message}"
    );
}

#[test]
fn a_killed_checkout_is_repaired() {
    let repository = Repository::new(2);
    let history = repository.open().unwrap();
    let second = history.commit("v2").unwrap();
    kernel(&history, &history.commit("v1").unwrap());
    let dir = history.dir();
    drop(history);
    // The state after git was killed: files of another commit, a lock file, a truncated file.
    fs::write(dir.join("unfinished"), "x").unwrap();
    fs::write(dir.join("index.lock"), "x").unwrap();
    fs::write(dir.join("src/kernel/other.c"), "x").unwrap();
    fs::write(dir.join("src/kernel/exit.c"), "").unwrap();
    let history = repository.open().unwrap();
    let image = kernel(&history, &second);
    assert!(!dir.join("src/kernel/other.c").exists() && !dir.join("unfinished").exists());
    assert!(fs::read_to_string(dir.join("src/kernel/exit.c")).unwrap().contains("leave"));
    let slots = fs::read_dir(dir.join("src")).unwrap().flatten();
    let slot_count =
        slots.filter(|entry| entry.file_name().to_string_lossy().starts_with("sudbox-")).count();
    assert_eq!((slot_count, image.is_newly_built), (1, true));
}

#[test]
fn the_first_new_commit_is_found_and_logged_with_the_chosen_terms() {
    let repository = Repository::new(9);
    let history = repository.open().unwrap();
    let number = |subject: &str| subject.rsplit(' ').next().unwrap().parse::<u32>().unwrap();
    for (terms, word) in [(BisectionTerms::GoodBad, "bad"), (BisectionTerms::OldNew, "new")] {
        let (next, log, steps) =
            bisect(&history, terms, ("v1", "v9"), |subject| match number(subject) {
                5 => Mark::Skip,
                n if n >= 7 => Mark::New,
                _ => Mark::Old,
            });
        assert_eq!(next, NextStep::Found(history.commit("v7").unwrap().id));
        assert!(log.contains(&format!("# first {word} commit: [")), "{log}");
        assert!((3..=5).contains(&steps), "{log}");
    }
}

#[test]
fn skipped_commits_that_may_be_the_first_new_commit_are_returned() {
    let repository = Repository::new(6);
    let history = repository.open().unwrap();
    let (next, ..) =
        bisect(&history, BisectionTerms::GoodBad, ("v1", "v6"), |subject| match subject {
            "returns 3" | "returns 4" => Mark::Skip,
            "returns 2" => Mark::Old,
            _ => Mark::New,
        });
    let NextStep::Skipped(mut commits) = next else { panic!("{next:?}") };
    let mut expected = ["v3", "v4", "v5"].map(|name| history.commit(name).unwrap().id);
    commits.sort();
    expected.sort();
    assert_eq!(commits, expected);
}

#[test]
fn a_merge_base_that_behaves_like_the_new_end_is_reported() {
    let repository = Repository::new(3);
    repository.git(&["checkout", "-q", "-b", "side", "v2"]);
    for number in 10..13 {
        repository.commit(number);
    }
    let history = repository.open().unwrap();
    let (next, ..) =
        bisect(&history, BisectionTerms::GoodBad, ("v3", "v12"), |subject| match subject {
            "returns 11" | "returns 12" => Mark::New,
            _ => Mark::Old,
        });
    assert_eq!(next, NextStep::Found(history.commit("v11").unwrap().id));
    let (next, ..) = bisect(&history, BisectionTerms::GoodBad, ("v3", "v12"), |_| Mark::New);
    assert_eq!(next, NextStep::ChangedBefore(history.commit("v2").unwrap().id));
}

#[test]
fn unusable_repositories_and_commits_are_refused_in_one_line() {
    let repository = Repository::new(2);
    let clone_error = |name: &str, arguments: &[&str]| {
        let output = Command::new("git")
            .args(["clone", "-q"])
            .args(arguments)
            .arg(format!("file://{}", repository.path().display()))
            .arg(repository.fixture.cache.root().join(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let clone = repository.fixture.cache.root().join(name);
        History::open(&repository.fixture.cache, &clone).unwrap_err()
    };
    assert!(clone_error("shallow", &["--depth=1"]).to_string().contains("--unshallow"));
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    assert!(clone_error("partial", &["--filter=blob:none"]).to_string().contains("--refetch"));

    let history = repository.open().unwrap();
    repository.git(&["rm", "-q", "Makefile"]);
    repository.git(&["commit", "-q", "-m", "no Makefile"]);
    for (name, word) in [
        ("v99", "`v99`"),
        ("-n1", "`-n1`"),
        ("", "``"),
        ("v1..v2", "`v1..v2`"),
        ("v1:Makefile", "`v1:Makefile`"),
        ("HEAD", "no Makefile"),
    ] {
        let error = history.commit(name).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.fault(), Fault::Input, "{text}");
        assert!(text.contains(word) && !text.contains('\n'), "{text}");
    }
    drop(history);
    fs::remove_dir_all(repository.path().join(".git")).unwrap();
    assert!(repository.open_error().contains("not a git repository"));
}
