//! Shared by the end-to-end tests: the `sudbox` command as a person runs it, kernel trees with
//! faults, and a look for what a run left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
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

    /// Checks the exit code, and shows all that was said if it is another.
    ///
    /// # Panics
    /// If the code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
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
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        target.join("release/sudbox")
    });
    let mut command = Command::new(program);
    command.env_remove("SUDBOX_MAKE").env_remove("NO_COLOR");
    command
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
        let until = Instant::now() + Duration::from_secs(300);
        loop {
            if locked(&self.said).contains(text) {
                return;
            }
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

fn locked(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

/// The unpacked source of the pinned kernel, which a run has put into the cache.
///
/// # Panics
/// If it is not there.
fn pinned_source() -> PathBuf {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let _ = run(sudbox_run(&["--cases", "boot"])).expect(0);
    });
    let sources = cache().join("sources");
    let found = fs::read_dir(&sources)
        .unwrap_or_else(|error| panic!("{}: {error}", sources.display()))
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            fs::read_to_string(path.join("Makefile")).is_ok_and(|makefile| {
                makefile.contains("\nVERSION = 6\n") && makefile.contains("\nPATCHLEVEL = 12\n")
                    || makefile.contains("VERSION = 6\nPATCHLEVEL = 12\n")
            })
        });
    found.unwrap_or_else(|| panic!("no source of 6.12 in {}", sources.display()))
}

/// The one kernel tree that tests change: of the pinned kernel, as somebody would have it who has
/// begun a build in it. Held by one test at a time; a new holder gets it as released, with its
/// patches applied. One tree, because every tree costs a whole kernel build.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    source: PathBuf,
    _lock: fs::File,
}

impl Tree {
    /// Waits for the tree and applies these patches of `tests/faults/`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn with(patches: &[&str]) -> Tree {
        let source = pinned_source();
        // Beside the sources, so that links can be made, and kept for the next clone.
        let home = cache().join("tests");
        fs::create_dir_all(&home).expect("a directory in the cache");
        let lock = fs::File::create(home.join("tree.lock")).expect("a lock");
        lock.lock().expect("the lock");
        let tree = Tree { path: home.join("tree"), source, _lock: lock };
        tree.make();
        tree.reset();
        for patch in patches {
            tree.apply(patch);
        }
        tree
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, as an argument.
    ///
    /// # Panics
    /// If it is not UTF-8.
    #[must_use]
    pub fn argument(&self) -> &str {
        self.path.to_str().expect("a UTF-8 path")
    }

    fn changed(&self) -> PathBuf {
        self.path.with_extension("changed")
    }

    /// Copies the source, if the tree is not a copy of it yet, and begins a build in it with a
    /// configuration that is not ours.
    fn make(&self) {
        let mark = self.path.with_extension("copy-of");
        let source = self.source.to_str().expect("a UTF-8 path");
        if fs::read_to_string(&mark).is_ok_and(|text| text == source) {
            return;
        }
        // Hard links where they can be had: whoever changes a file replaces it.
        let copied = ["-al", "-a"].iter().any(|how| {
            let _ = fs::remove_dir_all(&self.path);
            let mut copy = Command::new("cp");
            copy.arg(how).arg(&self.source).arg(&self.path).stderr(Stdio::null());
            copy.status().is_ok_and(|status| status.success())
        });
        assert!(copied, "copying {source} failed");
        // What sudbox builds in its own copies is not part of a person's tree.
        for entry in fs::read_dir(&self.path).expect("the copy").flatten() {
            if entry.file_name().to_string_lossy().starts_with("sudbox-") {
                fs::remove_dir_all(entry.path()).expect("a directory of ours");
            }
        }
        for target in ["allnoconfig", "scripts_basic", "prepare0"] {
            let status = Command::new("make")
                .arg("-C")
                .arg(&self.path)
                .args(["-j2", target])
                .env_remove("MAKEFLAGS")
                .stdout(Stdio::null())
                .status()
                .expect("make is installed");
            assert!(status.success(), "make {target}");
        }
        fs::write(&mark, source).expect("a mark");
    }

    /// Puts every file that a holder changed back.
    fn reset(&self) {
        let _ = fs::remove_dir_all(self.path.join(".git"));
        for name in fs::read_to_string(self.changed()).unwrap_or_default().lines() {
            let original = fs::read(self.source.join(name)).expect("a file of the source");
            let now = fs::read(self.path.join(name)).unwrap_or_default();
            if now != original {
                self.put(name, &original);
            }
        }
        let _ = fs::remove_file(self.changed());
    }

    /// Notes that a file is changed, before it is.
    fn note(&self, name: &str) {
        use std::io::Write as _;
        let mut list =
            fs::OpenOptions::new().append(true).create(true).open(self.changed()).expect("a list");
        writeln!(list, "{name}").expect("a list");
    }

    fn put(&self, name: &str, contents: &[u8]) {
        // A new file, never a write into one that may be hard-linked to the cache's.
        let path = self.path.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Applies a patch of `tests/faults/`.
    ///
    /// # Panics
    /// If it does not apply.
    pub fn apply(&self, patch: &str) {
        let file = root().join("tests/faults").join(patch);
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for name in text.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
            self.note(name);
        }
        // patch(1) writes a new file and renames it.
        let status = Command::new("patch")
            .args(["--strip=1", "--silent", "--force", "--no-backup-if-mismatch", "--input"])
            .arg(&file)
            .current_dir(&self.path)
            .status()
            .expect("patch is installed");
        assert!(status.success(), "{patch} does not apply to {}", self.path.display());
    }

    /// Changes the text of one file.
    ///
    /// # Panics
    /// If the file cannot be read or written, or does not change.
    pub fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.path.join(name)).expect("a file of the tree");
        let changed = change(&text);
        assert_ne!(text, changed, "{name} does not change");
        self.note(name);
        self.put(name, changed.as_bytes());
    }

    /// Adds a comment that no run before had, so that there is something to build.
    ///
    /// # Panics
    /// If the file cannot be read or written.
    pub fn freshen(&self, name: &str) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("a clock").as_nanos();
        self.edit(name, |text| format!("{text}\n/* {now} */\n"));
    }
}
