// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::error::Fault;
use crate::monitor::Silent;
use crate::monitor::tests::Recording;
use crate::testing::Fixture;
use crate::types::{Contain, Request};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;

/// Argument of sleep(1) that no other process has on its command line.
const MARKER: &str = "98765.4321";

/// Builds a tree that runs this shell script. Returns the output of the script.
fn run_in_build(fixture: &Fixture, contain: Contain, script: &str) -> String {
    fixture.write("hook", &format!("exec > \"$O/printed\" 2>&1\n{script}\nexit 0\n"));
    let request = Request { contain, ..fixture.request() };
    fixture.build(&request, &mut Silent).unwrap();
    let trees = fs::read_dir(fixture.cache.root().join("trees")).unwrap().flatten();
    let folders = trees.flat_map(|tree| fs::read_dir(tree.path().join("src")).unwrap().flatten());
    folders.filter_map(|entry| fs::read_to_string(entry.path().join("printed")).ok()).collect()
}

/// Whether this machine has all measures. If not, prints that the test is not run.
fn has_all_measures(fixture: &Fixture) -> bool {
    let slot = Folder::new(fixture.dir.path().to_owned());
    let containment =
        Containment::for_build(fixture.dir.path(), &slot, &Toolchain::default(), Owner::default());
    let missing = containment.unwrap().missing_measures();
    if !missing.is_empty() {
        let _ = writeln!(io::stderr(), "NOT RUN: this machine has no {}", missing.join(", "));
    }
    missing.is_empty()
}

/// A script that tries to access files, sockets and processes outside, and prints a line for each
/// success. The fixture's directory has the file `secret`; `port` listens on localhost.
fn escape_script(fixture: &Fixture, port: u16) -> String {
    let folder = fixture.dir.path().display();
    let cache = fixture.cache.root().display();
    format!(
        "cat {folder}/secret
        cat ~/.ssh/* ~/.gnupg/* /etc/shadow 2>/dev/null && echo READ HOME
        ls {cache} && echo LISTED THE CACHE
        echo x > {folder}/written && echo WROTE
        echo x >> {cache}/recipes/x && echo WROTE A RECIPE
        echo x > /tmp/sudbox-escape && echo WROTE TMP
        bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo CONNECTED
        python3 -c 'import socket; socket.socket(socket.AF_UNIX)' && echo MADE A SOCKET
        kill -0 {parent} && echo SIGNALLED
        cat /proc/{parent}/environ && echo READ AN ENVIRONMENT
        bash -c 'echo PROCESSES $(ulimit -u)'
        setsid sh -c 'sleep {MARKER}' > /dev/null 2>&1 < /dev/null &",
        parent = std::process::id(),
    )
}

/// Ids of the processes with [`MARKER`] on their command line.
fn marked_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| {
            fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(MARKER))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[test]
fn a_contained_build_has_no_access_to_files_sockets_and_processes_outside() {
    let fixture = Fixture::new();
    if !has_all_measures(&fixture) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(fixture.dir.path().join("secret"), "THE SECRET\n").unwrap();
    let script = escape_script(&fixture, listener.local_addr().unwrap().port());
    let printed = run_in_build(&fixture, Contain::Require, &script);
    for success in
        ["THE SECRET", "READ", "LISTED", "WROTE", "CONNECTED", "MADE A SOCKET", "SIGNALLED"]
    {
        assert!(!printed.contains(success), "{success}: {printed}");
    }
    assert!(printed.contains("Permission denied"), "{printed}");
    if Namespaces::available() == Namespaces::WithUser {
        assert!(printed.contains(&format!("PROCESSES {MAX_PROCESSES}")), "{printed}");
    }
    assert!(!Path::new("/tmp/sudbox-escape").exists());
    assert_eq!(marked_processes(), Vec::<i32>::new());
}

/// Shows that the test of a contained build can fail.
#[test]
fn a_build_that_is_not_contained_has_access_to_files_sockets_and_processes_outside() {
    let fixture = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(fixture.dir.path().join("secret"), "THE SECRET\n").unwrap();
    let script = escape_script(&fixture, listener.local_addr().unwrap().port())
        .replace(MARKER, "0.1")
        .replace("/tmp/sudbox-escape", "/dev/null");
    let printed = run_in_build(&fixture, Contain::Off, &script);
    for success in ["THE SECRET", "LISTED", "WROTE\n", "WROTE A RECIPE", "CONNECTED", "SIGNALLED"] {
        assert!(printed.contains(success), "{success}: {printed}");
    }
}

/// Runs a function as on a machine without Landlock: in a thread with a seccomp filter that lets
/// Landlock's system call fail with ENOSYS.
fn without_landlock<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let hide_and_run = || {
        let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())].into();
        let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
        let target = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, target).unwrap();
        seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(hide_and_run).join().unwrap())
}

#[test]
fn without_landlock_auto_notes_the_lack_and_require_refuses_to_build() {
    let fixture = Fixture::new();
    let build = |contain| {
        let request = Request { contain, ..fixture.request() };
        let mut monitor = Recording::default();
        let result = fixture.build(&request, &mut monitor).map(|image| image.is_newly_built);
        (result, monitor.messages.join("; "))
    };
    let (result, _) = without_landlock(|| build(Contain::Require));
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Fault::Machine);
    assert!(error.to_string().contains("no Landlock"), "{error}");
    let (is_newly_built, notes) = without_landlock(|| build(Contain::Auto));
    assert!(is_newly_built.unwrap() && notes.contains("no Landlock"), "{notes}");
}

#[test]
fn ccaches_folders_are_parsed_from_its_settings() {
    let text = "(/settings/ccache.conf) max_size = 5.0 GB
(environment) remote_storage = file:/shared|layout=flat http://cache.example file:///other
(default) cache_dir = /cache
";
    assert_eq!(
        Ccache::from_settings(text),
        Some(Ccache {
            folder: "/cache".into(),
            shared: vec!["/shared".into(), "/other".into()],
            settings: Some("/settings/ccache.conf".into()),
        })
    );
    assert_eq!(Ccache::from_settings("nothing"), None);
}

#[test]
fn the_installation_folder_is_the_parent_of_bin_unless_it_contains_the_home() {
    let installation =
        |programs| installation_folder(Path::new(programs), Some(Path::new("/u/me")));
    assert_eq!(installation("/u/me/x-tools/aarch64/bin"), Path::new("/u/me/x-tools/aarch64"));
    assert_eq!(installation("/u/me/x-tools/aarch64"), Path::new("/u/me/x-tools/aarch64"));
    for programs in ["/u/me/bin", "/u/bin", "/bin"] {
        assert_eq!(installation(programs), Path::new(programs));
    }
}
