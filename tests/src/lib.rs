// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Helpers for the end-to-end tests: running the `sudbox` command as a user does, kernel trees with
//! faults, and checks that a command leaves no process behind.

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

pub use packages::ensure_installed;
pub use tree::{FRAME_WRITE, PINNED_SERIES, SourceEdit, Tree, series_and_arch};

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sudbox_report::Outcome;

/// Time limit of one command. A kernel build from scratch beside two others, on two CPUs, takes half of
/// this time.
const COMMAND_LIMIT: Duration = Duration::from_secs(1800);

/// Output and exit code of a finished command.
#[derive(Debug)]
pub struct RunOutput {
    /// Exit code, or 128 + the signal.
    pub code: i32,
    /// Standard output: the report.
    pub stdout: String,
    /// Standard error: progress, notes and errors.
    pub stderr: String,
    /// Wall-clock time from start to exit.
    pub elapsed: Duration,
}

/// The ids of the cases whose outcome is a failure.
#[must_use]
pub fn failed_cases(outcomes: &BTreeMap<String, String>) -> BTreeSet<String> {
    let is_failure = |text: &str| {
        Outcome::ALL.iter().any(|outcome| outcome.is_failure() && outcome.as_str() == text)
    };
    let failed = outcomes.iter().filter(|(_, outcome)| is_failure(outcome));
    failed.map(|(id, _)| id.clone()).collect()
}

impl RunOutput {
    /// Parses stdout as JSON.
    ///
    /// # Panics
    /// If stdout is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error} in the report:\n{}\n{}", self.stdout, self.stderr)
        })
    }

    /// Outcome of each case by its id, from the JSON report.
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

    /// The report folder, which the last line of stderr names.
    ///
    /// # Panics
    /// If the last line names no folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let last = self.stderr.lines().last().unwrap_or_default();
        let folder = last.trim_start().strip_prefix("report ");
        folder.unwrap_or_else(|| panic!("no folder:\n{}", self.stderr)).trim().into()
    }

    /// Asserts the exit code.
    ///
    /// # Panics
    /// With stdout and stderr, if the command ended with another code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> RunOutput {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts the exit code, an empty stdout, and one `sudbox: ` line on stderr with these words.
    ///
    /// # Panics
    /// If the code, stdout or stderr differs.
    #[track_caller]
    pub fn expect_error(self, code: i32, words: &[&str]) {
        let result = self.expect_code(code);
        assert!(result.stdout.is_empty(), "a report: {}", result.stdout);
        let errors: Vec<&str> =
            result.stderr.lines().filter(|line| line.starts_with("sudbox: ")).collect();
        assert_eq!(errors.len(), 1, "{}", result.stderr);
        for word in words {
            assert!(errors[0].contains(word), "`{word}` is not in: {}", errors[0]);
        }
        assert!(!result.stderr.contains("panicked"), "{}", result.stderr);
    }
}

/// The ids of the cases that run on x86-64, from `sudbox run --list`.
///
/// # Panics
/// If the command fails.
#[must_use]
pub fn listed_cases() -> BTreeSet<String> {
    let mut list = sudbox();
    list.args(["run", "--list", "--cases", "all"]);
    let listed = run(list).expect_code(0).stdout;
    let (on_this_arch, _) = listed.split_once("\nnot on ").expect("cases of other architectures");
    let words = on_this_arch.lines().filter_map(|line| line.split_whitespace().next());
    words.filter(|word| word.contains('/')).map(str::to_owned).collect()
}

/// The vmlinux in the cache of the kernel that a report is about.
///
/// # Panics
/// If the report is not about a kernel in the cache.
#[must_use]
pub fn built_kernel_of(report: &serde_json::Value) -> String {
    let image = report["image"].as_str().expect("an image");
    let entry = image.strip_prefix("cache ").expect("an entry of the cache");
    let vmlinux = cache_dir().join("images").join(entry).join("vmlinux");
    vmlinux.to_str().expect("a UTF-8 path").to_owned()
}

/// A command for the tested `sudbox`: the binary named by the environment variable `SUDBOX`, or a
/// release build of this checkout.
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
        target_dir().join("release/sudbox")
    });
    let mut command = Command::new(program);
    command.env_remove("NO_COLOR");
    command
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `sudbox run --format json` with these arguments.
#[must_use]
pub fn sudbox_run(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.args(["run", "--format", "json"]).args(arguments);
    command
}

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the checkout")
}

/// A started command. The command and its child processes are a session (setsid(2)), so that the tests
/// find these processes.
#[derive(Debug)]
pub struct RunningCommand {
    child: Child,
    started: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    stderr_so_far: std::sync::Arc<Mutex<String>>,
}

/// Starts a command with an empty stdin.
///
/// # Panics
/// If the command cannot be started.
#[must_use]
pub fn start(mut command: Command) -> RunningCommand {
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
    let stderr_so_far = std::sync::Arc::new(Mutex::new(String::new()));
    let mut out = child.stdout.take().expect("piped");
    let mut err = child.stderr.take().expect("piped");
    let shared = stderr_so_far.clone();
    RunningCommand {
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
                lock(&shared).push_str(&String::from_utf8_lossy(&piece[..count]));
            }
            lock(&shared).clone()
        })),
        stderr_so_far,
    }
}

/// Runs a command to its end.
#[must_use]
pub fn run(command: Command) -> RunOutput {
    start(command).finish()
}

impl RunningCommand {
    /// Waits until stderr contains `text`.
    ///
    /// # Panics
    /// If the command ends, or five minutes pass, without `text`.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_in_order(&[text]);
    }

    /// Waits until stderr contains all of `texts`, in this order.
    ///
    /// # Panics
    /// If the command ends, or five minutes pass, before stderr contains them.
    pub fn wait_for_in_order(&mut self, texts: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let mut rest = lock(&self.stderr_so_far).clone();
            let mut missing = texts.iter().skip_while(|text| {
                let position = rest.find(**text);
                rest = position
                    .map_or_else(String::new, |position| rest[position + text.len()..].to_owned());
                position.is_some()
            });
            let Some(text) = missing.next() else { return };
            let status = self.child.try_wait().expect("a child of this process");
            let stderr = lock(&self.stderr_so_far).clone();
            assert!(status.is_none() && Instant::now() < deadline, "no `{text}` in:\n{stderr}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the process, not to its children.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: kill touches no memory; the child has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// Sends a signal to the next process of the command that starts and has a name that begins with
    /// `name`, once it has used `cpu_time`. Processes that run already may be about to end.
    ///
    /// # Panics
    /// If a minute passes without such a process.
    pub fn signal_next_named(&self, name: &str, cpu_time: Duration, signal: i32) {
        let pids = || -> BTreeSet<i32> {
            let processes = processes_in_session(self.child.id());
            let named = processes.iter().filter_map(|process| process.split_once(' '));
            let named = named.filter(|(_, process_name)| process_name.starts_with(name));
            named.filter_map(|(pid, _)| pid.parse().ok()).collect()
        };
        let before = pids();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = pids();
            let mut started = now.difference(&before);
            if let Some(pid) = started.find(|pid| used_cpu_time(**pid) >= cpu_time) {
                // SAFETY: kill touches no memory.
                unsafe { libc::kill(*pid, signal) };
                return;
            }
            assert!(Instant::now() < deadline, "no further {name} in {now:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the command has ended, and then up to 5 s for its other processes to end.
    ///
    /// # Panics
    /// If a process is left, or the command takes longer than [`COMMAND_LIMIT`].
    #[must_use]
    pub fn finish(mut self) -> RunOutput {
        use std::os::unix::process::ExitStatusExt as _;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                break status;
            }
            if self.started.elapsed() > COMMAND_LIMIT {
                let _ = self.child.kill();
                panic!("still running after {COMMAND_LIMIT:?}:\n{}", lock(&self.stderr_so_far));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.started.elapsed();
        let session = self.child.id();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let remaining = processes_in_session(session);
            if remaining.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "left behind: {remaining:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let joined = |handle: Option<JoinHandle<String>>| {
            handle.expect("taken once").join().expect("a reader")
        };
        RunOutput {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: joined(self.stdout.take()),
            stderr: joined(self.stderr.take()),
            elapsed,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// PID and name of each process of a session, without zombies.
fn processes_in_session(session: u32) -> Vec<String> {
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

/// The time for which a process's threads have run in user space; zero if there is no such process.
fn used_cpu_time(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc_pid_stat(5): utime is the twelfth field after the name, in 1/100 s (USER_HZ).
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().nth(11).and_then(|utime| utime.parse().ok());
    Duration::from_millis(10 * ticks.unwrap_or(0))
}

/// Runs git with a made-up author and returns its stdout.
///
/// # Panics
/// If git fails.
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

/// Inode, size, mode, mtime and ctime of everything below a folder. A write changes at least the
/// ctime, which a program cannot set back.
///
/// # Panics
/// If a folder or file cannot be read.
#[must_use]
pub fn file_metadata(folder: &Path) -> BTreeMap<PathBuf, (u64, u64, u32, [i64; 4])> {
    let mut metadata = BTreeMap::new();
    let mut pending_folders = vec![folder.to_owned()];
    while let Some(folder) = pending_folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let meta = path.symlink_metadata().expect("a file");
            if meta.is_dir() {
                pending_folders.push(path.clone());
            }
            let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
            metadata.insert(path, (meta.ino(), meta.size(), meta.mode(), times));
        }
    }
    metadata
}

/// A build monitor that prints phases and notes to stderr.
#[derive(Clone, Copy, Debug)]
pub struct StderrMonitor;

impl sudbox_images::Monitor for StderrMonitor {
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

/// The cache directory of sudbox, by the same rules as in sudbox.
///
/// # Panics
/// If there is no home directory.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("SUDBOX_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("sudbox")))
        .unwrap_or_else(|| std::env::home_dir().expect("a home").join(".cache/sudbox"))
}

/// Runs a command with stdout and stderr on a terminal of this width. Returns what the terminal got.
///
/// # Panics
/// If the command fails or does not start.
#[must_use]
pub fn run_on_terminal(width: u16, mut command: Command) -> String {
    let size = libc::winsize { ws_row: 50, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut host, mut terminal) = (-1, -1);
    // SAFETY: the pointers are to live variables; name and termios may be null.
    let opened = unsafe {
        libc::openpty(
            &raw mut host,
            &raw mut terminal,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    assert_eq!(opened, 0, "openpty: {}", std::io::Error::last_os_error());
    // SAFETY: openpty has just returned the two descriptors, which have no other owner.
    let (host, terminal) = unsafe { (OwnedFd::from_raw_fd(host), OwnedFd::from_raw_fd(terminal)) };
    command.env("TERM", "xterm").stdin(Stdio::null());
    command.stdout(Stdio::from(terminal.try_clone().expect("a copy"))).stderr(terminal);
    let mut child = command.spawn().expect("the command");
    // The command has copies of the terminal's descriptor. While one is open, the terminal does not end.
    drop(command);
    let mut bytes = Vec::new();
    // Reading fails with EIO when no process has the terminal open.
    let _ = fs::File::from(host).read_to_end(&mut bytes);
    let code = child.wait().expect("an exit status").code();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(code, Some(0), "{text}");
    text
}

/// Prints a line to stderr, even from a test that passes. cargo captures only the output of `println!`
/// and `eprintln!`.
pub fn print_uncaptured(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A directory with a symlink to every program of `PATH`, except programs whose names begin with one of
/// these prefixes.
///
/// # Panics
/// If the directory cannot be created.
#[must_use]
pub fn programs_without(prefixes: &[&str]) -> tempfile::TempDir {
    let bin = tempfile::tempdir().expect("a directory");
    for dir in std::env::split_paths(&std::env::var_os("PATH").expect("a PATH")) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                // The first program with a name in PATH is used. The symlink to a later one fails.
                let _ = std::os::unix::fs::symlink(entry.path(), bin.path().join(name));
            }
        }
    }
    bin
}

/// Writes a kernel tree that cannot be built into `dir`, and returns its path.
///
/// # Panics
/// If a file cannot be written.
#[must_use]
pub fn unbuildable_tree(dir: &Path) -> String {
    let makefile = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n";
    fs::write(dir.join("Makefile"), makefile).expect("a file");
    fs::write(dir.join("Kconfig"), "").expect("a file");
    fs::create_dir(dir.join("kernel")).expect("a directory");
    dir.to_str().expect("text").to_owned()
}

/// Asserts that two JSON reports are equal, apart from times and the fields that contain them.
pub fn assert_same_but_times(one: &str, other: &str) {
    let mut differences = Vec::new();
    collect_differences("", &without_times(one), &without_times(other), &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn collect_differences(
    path: &str,
    one: &serde_json::Value,
    other: &serde_json::Value,
    differences: &mut Vec<String>,
) {
    use serde_json::Value::{Array, Object};
    match (one, other) {
        (Object(one), Object(other)) if one.keys().eq(other.keys()) => {
            for (name, value) in one {
                collect_differences(&format!("{path}/{name}"), value, &other[name], differences);
            }
        }
        (Array(one), Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                collect_differences(&format!("{path}/{index}"), one, other, differences);
            }
        }
        _ if one == other => {}
        _ => differences.push(format!("{path}: {one}\n    and {other}")),
    }
}

/// Parses a JSON report and blanks the fields that differ from run to run.
fn without_times(text: &str) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "millis" | "micros" => *value = serde_json::json!(0),
                        // Texts that contain times.
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
