// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs all cases on the slips of a blind set: `make test-blind SET=name [SLIPS='globs']`.
//!
//! Each slip is applied to the kernel and built. The C program of the slip must exit with 0 on the
//! right kernel and with another status on the broken kernel, which proves that the slip changes
//! behaviour. Then every case runs on the broken kernel. The first result of each slip is recorded in
//! `tests/blind/SET/first-sight.txt` and never overwritten.

use globset::{Glob, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;
use sudbox_tests::blind::{self, KERNEL, Slip};
use sudbox_tests::{Tree, failed_cases, run, sudbox, sudbox_run};

/// Value of `--timeout` in seconds: a boot without progress for this time counts as hung.
const TIMEOUT: &str = "40";

/// The result of the cases on one slip.
enum SlipResult {
    /// Ids of the cases that noticed the slip ([`failed_cases`]).
    Cases(BTreeSet<String>),
    /// The reason why the kernel could not be judged, such as a failed build or boot.
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
    let slips = blind::read_slips(&set)?;
    let programs = tempfile::tempdir().map_err(|error| error.to_string())?;
    let tree = Tree::wait_for(KERNEL);
    let mut first_results = FirstResults::load(&set);
    let (mut noticed, mut tried, mut invalid) = (0, 0, Vec::new());
    for slip in
        slips.iter().filter(|s| globs.is_empty() || globs.iter().any(|g| g.is_match(&s.name)))
    {
        let began = Instant::now();
        match try_slip(&tree, slip, programs.path()) {
            Ok(result) => {
                tried += 1;
                let line = result.line();
                noticed += usize::from(result.is_noticed());
                println!("{}: {line} ({:.0} s)", slip.name, began.elapsed().as_secs_f32());
                first_results.add(&slip.name, &line)?;
            }
            Err(why) => {
                println!("{}: INVALID: {why}", slip.name);
                invalid.push(slip.name.clone());
            }
        }
    }
    println!(
        "{noticed} of {tried} slips noticed now; {}; {} invalid",
        first_results.summary(),
        invalid.len()
    );
    Ok(())
}

impl SlipResult {
    /// Whether the slip was noticed. A kernel that could not be judged counts as noticed.
    fn is_noticed(&self) -> bool {
        match self {
            SlipResult::Cases(cases) => !cases.is_empty(),
            SlipResult::NotJudged(_) => true,
        }
    }

    /// The result in one line, as in `first-sight.txt`.
    fn line(&self) -> String {
        match self {
            SlipResult::Cases(cases) if cases.is_empty() => "missed".into(),
            SlipResult::Cases(cases) => {
                format!("noticed by {}", cases.iter().cloned().collect::<Vec<_>>().join(" "))
            }
            SlipResult::NotJudged(why) => format!("noticed: not judged: {why}"),
        }
    }
}

/// Runs the slip's program on both kernels and every case on the broken one.
///
/// # Errors
/// The slip is invalid, because its program or its patch is wrong.
fn try_slip(tree: &Tree, slip: &Slip, programs: &Path) -> Result<SlipResult, String> {
    let program = blind::compile(slip, programs)?;
    let program = program.to_str().ok_or("a path that is not UTF-8")?;
    let right = exit_code_of(program, KERNEL)?;
    if right != 0 {
        return Err(format!("its program exits with {right} on the right kernel"));
    }
    tree.try_apply_patch_file(&slip.patch)?;
    let result = try_broken(tree, program);
    tree.reset();
    result
}

/// Runs the slip's program and every case on the broken kernel.
fn try_broken(tree: &Tree, program: &str) -> Result<SlipResult, String> {
    let broken = exit_code_of(program, tree.argument())?;
    if broken == 0 {
        return Err("its program exits with 0 on the broken kernel".into());
    }
    let result = run(sudbox_run(&[tree.argument(), "--timeout", TIMEOUT, "--cases", "all"]));
    if [0, 1].contains(&result.code) {
        return Ok(SlipResult::Cases(failed_cases(&result.outcomes())));
    }
    let why =
        result.stderr.lines().rfind(|line| line.starts_with("sudbox: ")).unwrap_or("no reason");
    match result.code {
        125 => Ok(SlipResult::NotJudged(why.to_owned())),
        code => Err(format!("this machine could not judge it, exit code {code}: {why}")),
    }
}

/// Runs a program on a kernel. Returns the exit status of the program, 124 if the program hangs, or 125
/// if the kernel crashes.
fn exit_code_of(program: &str, kernel: &str) -> Result<i32, String> {
    let mut command = sudbox();
    command.args(["exec", "--kernel", kernel, "--timeout", "20", "--", program]);
    let result = run(command);
    match result.code {
        128.. if result.stderr.contains("sudbox: ") => Err(result.stderr),
        code => Ok(code),
    }
}

/// The first results of the slips of a set.
struct FirstResults {
    path: std::path::PathBuf,
    lines: BTreeMap<String, String>,
}

impl FirstResults {
    fn load(set: &str) -> FirstResults {
        let path = blind::set_folder(set).join("first-sight.txt");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, result)| (name.to_owned(), result.to_owned()))
            .collect();
        FirstResults { path, lines }
    }

    /// Records the result of a slip, unless an earlier one is recorded.
    fn add(&mut self, name: &str, result: &str) -> Result<(), String> {
        self.lines.entry(name.to_owned()).or_insert_with(|| result.to_owned());
        let text: String =
            self.lines.iter().map(|(name, result)| format!("{name}: {result}\n")).collect();
        fs::write(&self.path, text).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn summary(&self) -> String {
        let noticed = self.lines.values().filter(|result| result.starts_with("noticed")).count();
        format!("{noticed} of {} at first sight", self.lines.len())
    }
}
