// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks the suite about a blind set: `make test-blind SET=name [SLIPS='globs']`.
//!
//! Each slip is applied to the kernel, which is built and booted twice: the C program of the slip
//! must exit with 1 on it and with 0 on the right kernel, which shows that the slip is not
//! equivalent; and every case runs. The first answer to each slip is kept in
//! `tests/blind/SET/first-sight.txt` and is never overwritten.

use globset::{Glob, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;
use sudbox_tests::blind::{self, KERNEL, Slip};
use sudbox_tests::{Tree, run, sudbox, sudbox_run};

/// Seconds without progress after which a boot is a hang.
const TIMEOUT: &str = "40";

/// The answer of the suite to one slip.
enum Answer {
    /// Ids of the cases that failed, crashed or hung.
    Cases(BTreeSet<String>),
    /// The kernel could not be judged: it did not build or did not boot; the reason.
    NotJudged(String),
}

fn main() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let set =
        words.next().filter(|set| !set.is_empty()).ok_or("usage: test-blind SET [GLOB...]")?;
    let globs: Vec<GlobMatcher> = words
        .map(|word| Glob::new(&word).map(|glob| glob.compile_matcher()))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let slips = blind::slips(&set)?;
    let programs = tempfile::tempdir().map_err(|error| error.to_string())?;
    let tree = Tree::of(KERNEL);
    let mut record = Record::load(&set);
    let (mut noticed, mut asked, mut invalid) = (0, 0, Vec::new());
    for slip in
        slips.iter().filter(|s| globs.is_empty() || globs.iter().any(|g| g.is_match(&s.name)))
    {
        let began = Instant::now();
        match ask(&tree, slip, programs.path()) {
            Ok(answer) => {
                asked += 1;
                let line = answer.line();
                noticed += usize::from(answer.is_noticed());
                println!("{}: {line} ({:.0} s)", slip.name, began.elapsed().as_secs_f32());
                record.add(&slip.name, &line)?;
            }
            Err(why) => {
                println!("{}: INVALID: {why}", slip.name);
                invalid.push(slip.name.clone());
            }
        }
    }
    println!(
        "{noticed} of {asked} slips noticed now; {}; {} invalid",
        record.summary(),
        invalid.len()
    );
    Ok(())
}

impl Answer {
    /// A kernel that does not boot was noticed as well.
    fn is_noticed(&self) -> bool {
        match self {
            Answer::Cases(cases) => !cases.is_empty(),
            Answer::NotJudged(_) => true,
        }
    }

    fn line(&self) -> String {
        match self {
            Answer::Cases(cases) if cases.is_empty() => "missed".into(),
            Answer::Cases(cases) => {
                format!("noticed by {}", cases.iter().cloned().collect::<Vec<_>>().join(" "))
            }
            Answer::NotJudged(why) => format!("noticed: not judged: {why}"),
        }
    }
}

/// Builds the kernel with the slip and asks the slip's own program and every case.
fn ask(tree: &Tree, slip: &Slip, programs: &Path) -> Result<Answer, String> {
    let program = blind::compile(slip, programs)?;
    let program = program.to_str().ok_or("a path that is not UTF-8")?;
    let right = exit_of(program, KERNEL)?;
    if right != 0 {
        return Err(format!("its program exits with {right} on the right kernel"));
    }
    tree.try_apply_file(&slip.patch)?;
    let result = ask_broken(tree, program);
    tree.reset();
    result
}

fn ask_broken(tree: &Tree, program: &str) -> Result<Answer, String> {
    let broken = exit_of(program, tree.argument())?;
    if broken == 0 {
        return Err("its program exits with 0 on the broken kernel".into());
    }
    let ran = run(sudbox_run(&[tree.argument(), "--timeout", TIMEOUT, "--cases", "all"]));
    if [0, 1].contains(&ran.code) {
        let failed = ran
            .outcomes()
            .into_iter()
            .filter(|(_, outcome)| ["fail", "crash", "hang"].contains(&outcome.as_str()))
            .map(|(id, _)| id)
            .collect();
        return Ok(Answer::Cases(failed));
    }
    let why = ran.stderr.lines().rfind(|line| line.starts_with("sudbox: ")).unwrap_or("no reason");
    Ok(Answer::NotJudged(why.to_owned()))
}

/// Runs a program on a kernel and returns its exit status; a program that hangs has 124, a kernel
/// that dies 125.
fn exit_of(program: &str, kernel: &str) -> Result<i32, String> {
    let mut command = sudbox();
    command.args(["exec", "--kernel", kernel, "--timeout", "20", "--", program]);
    let ran = run(command);
    match ran.code {
        128.. if ran.stderr.contains("sudbox: ") => Err(ran.stderr),
        code => Ok(code),
    }
}

/// The first answers to the slips of a set.
struct Record {
    path: std::path::PathBuf,
    lines: BTreeMap<String, String>,
}

impl Record {
    fn load(set: &str) -> Record {
        let path = blind::folder(set).join("first-sight.txt");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
            .collect();
        Record { path, lines }
    }

    /// Adds the answer to a slip, unless an earlier one is there.
    fn add(&mut self, name: &str, answer: &str) -> Result<(), String> {
        self.lines.entry(name.to_owned()).or_insert_with(|| answer.to_owned());
        let text: String =
            self.lines.iter().map(|(name, answer)| format!("{name}: {answer}\n")).collect();
        fs::write(&self.path, text).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn summary(&self) -> String {
        let noticed = self.lines.values().filter(|answer| answer.starts_with("noticed")).count();
        format!("{noticed} of {} at first sight", self.lines.len())
    }
}
