// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox sandbox run`: a program of 64-bit Windows, built from C by the tools that build kernels.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sudbox_tests::{Ran, root, run, sudbox};

fn sandbox(options: &[&str], program: &Path) -> Ran {
    let mut command = sudbox();
    command.args(["sandbox", "run"]).args(options).arg(program);
    run(command)
}

fn done(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Builds it, to be loaded elsewhere than where it will be.
fn build(to: &Path) -> PathBuf {
    let (object, program) = (to.join("windows.o"), to.join("program.exe"));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-c", "-O2", "-Wall", "-Werror", "-ffreestanding", "-fno-ident", "-fpie"])
        .args(["-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none"])
        .args([
            "-fno-tree-loop-distribute-patterns",
            "-fvisibility=hidden",
            "-mgeneral-regs-only",
            "-o",
        ])
        .arg(&object)
        .arg(root().join("tests/payloads/windows.c"));
    done(&mut compiler);
    let mut linker = Command::new("ld");
    linker
        .args(["-m", "i386pep", "--subsystem", "native", "-e", "start", "--image-base"])
        .args(["0x180000000", "--dynamicbase", "--enable-reloc-section", "-o"])
        .arg(&program)
        .arg(&object);
    done(&mut linker);
    program
}

#[test]
fn a_windows_program_gives_the_same_transcript_by_each_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = build(dir.path());
    let first = sandbox(&[], &program).expect(0);
    for line in [
        "thread 0",
        "  0x1abc = STATUS_INVALID_SYSTEM_SERVICE",
        "  NtDelayExecution(-1000) = STATUS_SUCCESS",
        "  NtTerminateProcess(0x0)",
        "thread 1",
        "  NtTerminateThread(0x0)",
        "console",
        "  hello from C",
        "  primes counted",
        "end 0x0",
    ] {
        assert!(first.stdout.lines().any(|told| told == line), "{line}: {}", first.stdout);
    }
    for engine in ["exclusive", "filter", "notification", "trace"] {
        let ran = sandbox(&["--kernel", "6.12", "--engine", engine], &program).expect(0);
        assert_eq!(ran.stdout, first.stdout, "{engine}");
    }
    let ran = sandbox(&["--kernel", "6.12", "--engine", "inclusive"], &program).expect(125);
    assert!(ran.stderr.contains("does not offer the engine inclusive"), "{}", ran.stderr);
}

#[test]
fn what_is_no_program_is_refused_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = build(dir.path());
    let whole = fs::read(&program).expect("a program");
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| whole[at + i])) as usize;
    let header = word(0x3c);
    let (optional, table) = (header + 24, header + 24 + 240);
    let broken = dir.path().join("broken.exe");
    let with = |at: usize, value: u32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let mut empty = with(table + 8, 0);
    empty[table + 16..table + 20].fill(0);
    let machine = u32::from(whole[header + 6]) << 16;
    for (bytes, words) in [
        (b"hello\n".to_vec(), "it is not a PE file"),
        (whole[..200].to_vec(), "it is truncated"),
        (whole[..0x500].to_vec(), "it is truncated"),
        (with(header + 4, machine | 0xaa64), "it is for arm64"),
        // Imports at the beginning of the code, where there is no end of a list.
        (with(optional + 112 + 8, 0x1000), "it has imports"),
        (empty, "its section 0 has no length"),
        (with(table + 40 + 12, 0x1000), "its section 1 overlaps"),
        (with(optional + 16, 0x10_0000), "is not in an executable section"),
        (with(optional + 56, 0x1000_0000), "larger in memory"),
    ] {
        fs::write(&broken, bytes).expect("a file");
        let ran = sandbox(&[], &broken).expect(129);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        assert_eq!((ran.stderr.lines().count(), &*ran.stdout), (1, ""), "{}", ran.stderr);
    }
    let ran = sandbox(&[], &dir.path().join("nowhere.exe")).expect(129);
    assert!(ran.stderr.contains("cannot be read"), "{}", ran.stderr);
    let ran = sandbox(&[], Path::new("/dev/zero")).expect(129);
    assert!(ran.stderr.contains("is not a regular file"), "{}", ran.stderr);
    let ran = sandbox(&["--engine", "warp"], &program).expect(129);
    assert!(ran.stderr.contains("notification"), "{}", ran.stderr);
}
