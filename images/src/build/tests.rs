// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use super::*;
use crate::error::Fault;
use crate::monitor::Silent;
use crate::monitor::tests::Interrupted;
use crate::testing::{Fixture, MAKEFILE};
use crate::types::Request;

/// Returns the error of a build that fails with this output.
fn error_for_output(lines: &[&str]) -> Error {
    let mut output = MakeOutput::default();
    for line in lines {
        output.add_line(line);
    }
    output.into_error("vmlinux", Path::new("/cache/build.log"))
}

#[test]
fn the_message_has_the_first_error_and_the_log() {
    let error = error_for_output(&[
        "  CC      kernel/fork.o",
        "../kernel/entry/common.c: In function 'f':",
        "../kernel/entry/common.c:7:3: error: 'x' undeclared",
        "../kernel/entry/common.c:9:3: error: second",
        "make[3]: *** [scripts/Makefile.build:229: kernel/entry/common.o] Error 1",
    ]);
    assert_eq!(error.fault(), crate::Fault::Kernel);
    assert_eq!(error.log(), Some(Path::new("/cache/build.log")));
    let text = error.to_string();
    assert!(text.contains("build: kernel/entry/common.c:7:3: error: 'x' undeclared;"), "{text}");
}

#[test]
fn without_an_error_line_the_message_has_the_last_lines() {
    let text =
        error_for_output(&["  LD x", "objtool: bad", "make: *** [vmlinux] Error 255"]).to_string();
    assert!(text.contains("objtool: bad; make: ***"), "{text}");
}

#[test]
fn a_full_disk_and_lack_of_memory_are_the_machines_fault() {
    for line in [
        "/cache/x.s:1: fatal error: error writing to /tmp/x.s: No space left on device",
        "gcc: fatal error: Killed signal terminated program cc1",
    ] {
        assert_eq!(error_for_output(&[line]).fault(), crate::Fault::Machine);
    }
}

#[test]
fn only_changed_files_are_rebuilt() {
    let f = Fixture::new();
    assert_eq!(f.compiled_files(), ["kernel/exit.o", "kernel/fork.o"]);
    f.write("kernel/fork.c", "int entry(void) { return 7; }\n");
    assert_eq!(f.compiled_files(), ["kernel/fork.o"]);
    // With the former content, the image is found in the cache and nothing is built.
    f.write("kernel/fork.c", "int entry(void) { return 1; }\n");
    assert!(!f.kernel().unwrap().is_newly_built);
}

#[test]
fn variables_of_an_outer_make_are_not_inherited() {
    let f = Fixture::new();
    let request = Request {
        toolchain: crate::Toolchain { kcflags: Some("-DASKED".into()), ..Default::default() },
        ..f.request()
    };
    // SAFETY: no other thread of this test program reads these variables, and none removes a variable.
    unsafe {
        for name in ["MAKEFLAGS", "KBUILD_OUTPUT", "ARCH", "LOCALVERSION", "KCFLAGS", "MAKELEVEL"] {
            std::env::set_var(name, "poison");
        }
    }
    f.build(&request, &mut Silent).unwrap();
    let mirror = fs::read_dir(f.cache.root().join("trees")).unwrap().next().unwrap().unwrap();
    let entries = fs::read_dir(mirror.path().join("src")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let environment =
        paths.find_map(|path| fs::read_to_string(path.join("environment")).ok()).unwrap();
    assert!(!environment.contains("poison"), "{environment}");
    assert!(environment.contains("ARCH=x86_64") && environment.contains("-DASKED"));
}

/// Two machines share only ccache's remote storage. Each machine is simulated by a child process
/// that runs this test again, because environment variables configure ccache.
#[test]
fn machines_share_objects_by_ccaches_remote_storage() {
    const MACHINE: &str = "SUDBOX_TEST_MACHINE";
    if std::env::var_os(MACHINE).is_some() {
        assert_eq!(Fixture::new().compiled_files().len(), 2);
        return;
    }
    if crate::toolchain::find_program("ccache").is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: sharing objects through ccache: ccache is not installed"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let build_and_count = |name: &str| -> BTreeMap<String, u64> {
        let ccache_dir = dir.path().join(name);
        let mut machine = Command::new(std::env::current_exe().unwrap());
        machine.args(["--exact", "build::tests::machines_share_objects_by_ccaches_remote_storage"]);
        machine.env(MACHINE, name).env("CCACHE_DIR", &ccache_dir);
        let remote_storage = format!("file:{}", dir.path().join("shared").display());
        let output = machine.env("CCACHE_REMOTE_STORAGE", remote_storage).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let mut stats = Command::new("ccache");
        stats.arg("--print-stats").env("CCACHE_DIR", ccache_dir);
        let text = String::from_utf8(stats.output().unwrap().stdout).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('\t'));
        pairs.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
    };
    let (first, second) = (build_and_count("first"), build_and_count("second"));
    let [miss_key, remote_hit_key] = ["cache_miss", "remote_storage_hit"];
    assert_eq!((first[miss_key], first[remote_hit_key]), (2, 0), "{first:?}");
    assert_eq!(second[miss_key], 0, "{second:?}");
    assert!(second[remote_hit_key] >= 2, "{second:?}");
}

#[test]
fn a_failed_build_names_the_first_error_and_the_log() {
    let f = Fixture::new();
    f.write("kernel/fork.c", "int entry(void) { return undeclared; }\n");
    let text = f.error_message(Fault::Kernel);
    assert!(text.contains("kernel/fork.c:1:26: error: "), "{text}");
    let log = f.kernel().unwrap_err().log().unwrap().to_owned();
    assert!(text.contains(log.to_str().unwrap()));
    assert!(fs::read_to_string(log).unwrap().contains("undeclared"));
    f.write("kernel/fork.c", "int entry(void) { return 0; }\n");
    assert!(f.kernel().unwrap().is_newly_built, "the slot is usable");
    f.assert_no_unfinished_files();
}

#[test]
fn a_disk_that_fills_up_during_the_build_is_the_machines_fault() {
    let f = Fixture::new();
    // Every write to /dev/full fails with ENOSPC.
    f.write("hook", "mkdir -p $O/kernel; ln -sf /dev/full $O/kernel/fork.o\n");
    f.write("Makefile", &MAKEFILE.replace("cat hook 2>/dev/null | sh", "O=$(O) sh hook"));
    let text = f.error_message(Fault::Machine);
    assert!(text.contains("disk is full"), "{text}");
    f.assert_no_unfinished_files();
}

#[test]
fn an_interrupt_ends_the_build_and_leaves_the_slot_usable() {
    let f = Fixture::new();
    let request = f.request();
    let error = f.build(&request, &mut Interrupted::new()).unwrap_err();
    assert_eq!(error.fault(), Fault::Interrupted);
    f.assert_no_unfinished_files();
    assert!(f.kernel().unwrap().is_newly_built);
}

#[test]
fn only_one_of_concurrent_runs_builds() {
    let f = Fixture::new();
    let are_newly_built: Vec<bool> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..3).map(|_| scope.spawn(|| f.kernel().unwrap().is_newly_built)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(are_newly_built.iter().filter(|is_newly_built| **is_newly_built).count(), 1);
}

#[test]
fn builds_are_reproducible() {
    let image = |f: &Fixture| fs::read(f.kernel().unwrap().kernel).unwrap();
    assert_eq!(image(&Fixture::new()), image(&Fixture::new()));
}
