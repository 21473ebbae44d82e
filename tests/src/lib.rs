// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shared by the end-to-end tests: the `sudbox` command as a person runs it, kernel trees with
//! faults, and a look for what a run left behind.

pub mod blind;
pub mod browser;
pub mod expected_outcomes;
pub mod faults;
pub mod findings;
pub mod history;
pub mod level1;
pub mod mutants;
mod packages;
pub mod python;
mod tree;

pub use packages::installed;
pub use tree::{PINNED, Tree, series_and_arch};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest that any run of a test may take: a cold kernel build on a busy machine is a third.
const LIMIT: Duration = Duration::from_secs(900);

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code, or 128 + the signal.
    pub code: i32,
    /// The report.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
    /// Wall time.
    pub took: Duration,
}

impl Ran {
    /// The report as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error} in the report:\n{}\n{}", self.stdout, self.stderr)
        })
    }

    /// Outcome by case id.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, String> {
        let report = self.json();
        let text = |case: &serde_json::Value, key: &str| {
            case[key].as_str().unwrap_or_else(|| panic!("no {key} in {case}")).to_owned()
        };
        report["cases"]
            .as_array()
            .expect("a list of cases")
            .iter()
            .map(|case| (text(case, "id"), text(case, "outcome")))
            .collect()
    }

    /// The folder that a run says it left, in its last line.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let last = self.stderr.lines().last().unwrap_or_default();
        let folder = last.trim_start().strip_prefix("report ");
        folder.unwrap_or_else(|| panic!("no folder:\n{}", self.stderr)).trim().into()
    }

    /// Checks the exit code, and shows all that was said if it is another.
    ///
    /// # Panics
    /// If the code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks the exit code, and that there is no report but one sentence, with these words.
    ///
    /// # Panics
    /// If it is not so.
    #[track_caller]
    pub fn says(self, code: i32, words: &[&str]) {
        let ran = self.expect(code);
        assert!(ran.stdout.is_empty(), "a report: {}", ran.stdout);
        let sentences: Vec<&str> =
            ran.stderr.lines().filter(|line| line.starts_with("sudbox: ")).collect();
        assert_eq!(sentences.len(), 1, "{}", ran.stderr);
        for word in words {
            assert!(sentences[0].contains(word), "`{word}` is not in: {}", sentences[0]);
        }
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
}

/// The ids of the cases that run on x86-64, as `--list` shows them.
///
/// # Panics
/// If it cannot.
#[must_use]
pub fn listed_cases() -> BTreeSet<String> {
    let mut list = sudbox();
    list.args(["run", "--list"]);
    let listed = run(list).expect(0).stdout;
    // What follows an empty line is not on this architecture.
    let lines = listed.lines().take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The `sudbox` that is tested: the one that `SUDBOX` names, else one built now.
#[must_use]
pub fn sudbox() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("SUDBOX") {
            return PathBuf::from(path);
        }
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--release", "--locked", "--package", "sudbox"])
            .current_dir(root())
            .status()
            .expect("cargo starts");
        assert!(status.success(), "building sudbox failed");
        target().join("release/sudbox")
    });
    let mut command = Command::new(program);
    command.env_remove("NO_COLOR");
    command
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `sudbox run --format json` with these arguments.
#[must_use]
pub fn sudbox_run(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(["run", "--format", "json"]).args(arguments);
    command
}

/// The checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the checkout")
}

/// A run that has been started, in a session of its own so that its leftovers can be found.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    said: std::sync::Arc<Mutex<String>>,
}

/// Starts a command.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn start(mut command: Command) -> Running {
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = std::sync::Arc::new(Mutex::new(String::new()));
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let shared = said.clone();
    Running {
        child,
        started: Instant::now(),
        stdout: Some(std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = out.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })),
        stderr: Some(std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = err.read(&mut piece) {
                locked(&shared).push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            locked(&shared).clone()
        })),
        said,
    }
}

/// Runs a command to its end.
#[must_use]
pub fn run(command: Command) -> Ran {
    start(command).finish()
}

impl Running {
    /// Waits until stderr contains `text`.
    ///
    /// # Panics
    /// If the run ends or five minutes pass before that.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_in_order(&[text]);
    }

    /// Waits until stderr contains all of these, one after the other.
    ///
    /// # Panics
    /// If the run ends or five minutes pass before that.
    pub fn wait_for_in_order(&mut self, texts: &[&str]) {
        let until = Instant::now() + Duration::from_secs(300);
        loop {
            let mut rest = locked(&self.said).clone();
            let mut missing = texts.iter().skip_while(|text| {
                let at = rest.find(**text);
                rest = at.map_or_else(String::new, |at| rest[at + text.len()..].to_owned());
                at.is_some()
            });
            let Some(text) = missing.next() else { return };
            let ended = self.child.try_wait().expect("a child of ours");
            let said = locked(&self.said).clone();
            assert!(ended.is_none() && Instant::now() < until, "`{text}` was not said:\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the process alone, as `kill` does.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill touches no memory; the child has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// Waits for the end, and for every process of the run to be gone.
    ///
    /// # Panics
    /// If a process is left, or the run takes longer than any may.
    #[must_use]
    pub fn finish(mut self) -> Ran {
        use std::os::unix::process::ExitStatusExt as _;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            if self.started.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("no end after {LIMIT:?}:\n{}", locked(&self.said));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        let session = self.child.id();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let left = processes_of(session);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let joined = |handle: Option<JoinHandle<String>>| {
            handle.expect("taken once").join().expect("a reader")
        };
        Ran {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: joined(self.stdout.take()),
            stderr: joined(self.stderr.take()),
            took,
        }
    }
}

fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Processes of a session, zombies left out: pid and name.
fn processes_of(session: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            // proc_pid_stat(5): after the name in parentheses come state, ppid, pgrp, session.
            let rest = stat.rsplit(')').next().unwrap_or_default();
            let fields: Vec<&str> = rest.split_whitespace().collect();
            fields.get(3).and_then(|s| s.parse().ok()) == Some(session) && fields[0] != "Z"
        })
        .map(|stat| stat.split(')').next().unwrap_or_default().replace('(', ""))
        .collect()
}

/// Runs a git that has to succeed, as somebody; gives back what it said.
///
/// # Panics
/// If it fails.
pub fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("git is installed");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {text}{error}");
    text
}

/// What a write to anything in a folder would change: inode, size, mode, and times, of which that of
/// the status's change catches what sets the others back.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, u64, u32, [i64; 4])> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let meta = path.symlink_metadata().expect("a file");
            if meta.is_dir() {
                open.push(path.clone());
            }
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            all.insert(path, (meta.ino(), meta.size(), meta.mode(), times));
        }
    }
    all
}

/// Says on stderr what a long build does.
#[derive(Clone, Copy, Debug)]
pub struct Told;

impl sudbox_images::Monitor for Told {
    fn phase(&mut self, what: &str) {
        eprintln!("{what}");
    }
    fn progress(&mut self, _: u64, _: u64, _: &str) {}
    fn note(&mut self, what: &str) {
        eprintln!("{what}");
    }
    fn interrupt(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// Where sudbox keeps what it has built.
///
/// # Panics
/// If there is no home directory.
#[must_use]
pub fn cache() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("SUDBOX_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("sudbox")))
        .unwrap_or_else(|| std::env::home_dir().expect("a home").join(".cache/sudbox"))
}

/// Says something also of a test that passes: what the macros print is shown of failures only.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A directory with links to every program of this machine but those whose names begin so.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn programs_without(left_out: &[&str]) -> tempfile::TempDir {
    let bin = tempfile::tempdir().expect("a directory");
    for dir in std::env::split_paths(&std::env::var_os("PATH").expect("a PATH")) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !left_out.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                // Of two programs with one name, the first on the path counts.
                let _ = std::os::unix::fs::symlink(entry.path(), bin.path().join(name));
            }
        }
    }
    bin
}

/// Makes a tree of which no kernel can be built. Returns its path.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn hopeless(dir: &Path) -> String {
    let makefile = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n";
    fs::write(dir.join("Makefile"), makefile).expect("a file");
    fs::write(dir.join("Kconfig"), "").expect("a file");
    fs::create_dir(dir.join("kernel")).expect("a directory");
    dir.to_str().expect("text").to_owned()
}

/// Holds two reports in JSON equal but for the times; panics with the places that differ.
pub fn assert_same_but_times(one: &str, other: &str) {
    let mut differences = Vec::new();
    collect("", &without_times(one), &without_times(other), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn collect(
    place: &str,
    one: &serde_json::Value,
    other: &serde_json::Value,
    differences: &mut Vec<String>,
) {
    use serde_json::Value::{Array, Object};
    match (one, other) {
        (Object(one), Object(other)) if one.keys().eq(other.keys()) => {
            for (name, value) in one {
                collect(&format!("{place}/{name}"), value, &other[name], differences);
            }
        }
        (Array(one), Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                collect(&format!("{place}/{index}"), one, other, differences);
            }
        }
        _ if one == other => {}
        _ => differences.push(format!("{place}: {one}\n    and {other}")),
    }
}

/// A report in JSON without what differs from run to run.
fn without_times(text: &str) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "millis" | "micros" => *value = serde_json::json!(0),
                        // They hold times.
                        "machine" | "guest" | "date" => *value = serde_json::json!(""),
                        _ => strip(value),
                    }
                }
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    strip(&mut value);
    value
}
