// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::super::process::Process;
use super::*;
use crate::poll;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::ffi::OsString;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// Tries to leave the confinement. Prints a word for each attempt that succeeds. The arguments are a
/// folder with a file `secret`, the id of a process outside and a TCP port.
const ESCAPES: &str = r#"
try() { word=$1; shift; if "$@" 2> /dev/null; then echo "$word" >&2; fi; }
read_file() { read -r line < "$1"; }
write_file() { echo text > "$1"; }
connect() { exec 3<> "/dev/tcp/127.0.0.1/$1"; }
try read-secret read_file "$1/secret"
try write-secret write_file "$1/secret"
try create write_file "$1/new"
try list ls "$1"
try chmod /usr/bin/chmod 600 "$1/secret"
try read-passwd read_file /etc/passwd
try read-environment grep -qz . "/proc/$2/environ"
try signal kill -0 "$2"
try connect connect "$3"
/usr/bin/env >&2
"#;

/// The words that [`ESCAPES`] prints without a confinement.
const SUCCESSES: [&str; 9] = [
    "read-secret",
    "write-secret",
    "create",
    "list",
    "chmod",
    "read-passwd",
    "read-environment",
    "signal",
    "connect",
];

fn needs<'a>(program: &'a Path, debugger_folder: Option<&'a Path>) -> Needs<'a> {
    Needs {
        program,
        kernel: Path::new("/nonexistent"),
        initramfs: Path::new("/nonexistent"),
        accelerator: Accelerator::Tcg,
        memory_mib: 16,
        debugger_folder,
        has_log: false,
    }
}

/// Runs a script of bash in a confinement. Returns what it printed on stderr.
fn confined(script: &str, arguments: &[&str], debugger_folder: Option<&Path>) -> String {
    let program = sudbox_confinement::find_program("bash").expect("bash is installed");
    let confinement = QemuConfinement::new(&needs(&program, debugger_folder)).unwrap();
    let arguments: Vec<OsString> =
        ["-c", script, "bash"].iter().chain(arguments).map(OsString::from).collect();
    let mut process = Process::spawn(&program, &arguments, Vec::new(), confinement).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while process.try_wait().is_none() {
        assert!(Instant::now() < deadline, "{}", process.stderr_text());
        poll::wait_readable(&process.descriptors(), deadline).unwrap();
    }
    process.stderr_text()
}

#[test]
fn a_confined_process_reaches_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "a secret\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let pid = std::process::id().to_string();
    let arguments = [folder.path().to_str().unwrap(), &pid, &port];

    let free = Command::new("bash").args(["-c", ESCAPES, "bash"]).args(arguments).output().unwrap();
    let free = String::from_utf8_lossy(&free.stderr).into_owned();
    let successes: Vec<&str> = free.lines().take(SUCCESSES.len()).collect();
    assert_eq!(successes, SUCCESSES, "the attempts do not work without a confinement either");
    std::fs::remove_file(folder.path().join("new")).unwrap();

    let output = confined(ESCAPES, &arguments, None);
    let set_by_bash = ["PWD=", "SHLVL=", "_="];
    let mut lines = output.lines();
    lines.by_ref().find(|line| *line == "LC_ALL=C").expect("the environment");
    let unexpected: Vec<&str> = output
        .lines()
        .filter(|line| {
            *line != "LC_ALL=C" && !set_by_bash.iter().any(|name| line.starts_with(name))
        })
        .collect();
    let allowed_without_landlock: &[&str] = match missing_measure() {
        None => &[],
        Some(_) => {
            &["read-secret", "write-secret", "create", "list", "read-passwd", "read-environment"]
        }
    };
    assert_eq!(unexpected, allowed_without_landlock, "{output}");
}

#[test]
fn the_debuggers_folder_is_writable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let script = r#"echo text > "$1/log" && echo written >&2"#;
    assert_eq!(confined(script, &[path], Some(folder.path())), "written");
    if missing_measure().is_none() {
        assert_ne!(confined(script, &[path], None), "written");
    }
}

#[test]
fn a_machine_without_landlock_is_noted_and_still_starts_qemu() {
    // The filter is that of this thread, as on a kernel that has no Landlock.
    let thread = std::thread::spawn(|| {
        let target = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let rules = [(libc::SYS_landlock_create_ruleset, vec![])].into();
        let errno = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, target).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        (missing_measure(), confined("echo started >&2; kill -0 $PPID", &[], None))
    });
    let (note, output) = thread.join().unwrap();
    assert!(note.unwrap().contains("has no Landlock"));
    let (first, second) = output.split_once('\n').expect("two lines");
    assert_eq!(first, "started");
    assert!(second.contains("Operation not permitted"), "seccomp filters remain: {second}");
}
