// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox sandbox run` with a 64-bit Windows program, which cc and ld build from C.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sudbox_tests::{RunOutput, root, run, sudbox};

fn sandbox(options: &[&str], program: &Path) -> RunOutput {
    let mut command = sudbox();
    command.args(["sandbox", "run"]).args(options).arg(program);
    run(command)
}

/// Runs a command and panics unless it succeeds.
fn run_checked(command: &mut Command) {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Builds the program with relocations, so that it can be loaded at another address than its image
/// base.
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
    run_checked(&mut compiler);
    let mut linker = Command::new("ld");
    linker
        .args(["-m", "i386pep", "--subsystem", "native", "-e", "start", "--image-base"])
        .args(["0x180000000", "--dynamicbase", "--enable-reloc-section", "-o"])
        .arg(&program)
        .arg(&object);
    run_checked(&mut linker);
    program
}

#[test]
fn a_windows_program_gives_the_same_transcript_by_each_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = build(dir.path());
    let first = sandbox(&[], &program).expect_code(0);
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
        assert!(first.stdout.lines().any(|printed| printed == line), "{line}: {}", first.stdout);
    }
    for engine in ["exclusive", "filter", "notification", "trace"] {
        let result = sandbox(&["--kernel", "6.12", "--engine", engine], &program).expect_code(0);
        assert_eq!(result.stdout, first.stdout, "{engine}");
    }
    for options in [&["--format", "json"][..], &["--format", "json", "--kernel", "6.12"]] {
        let report = sandbox(options, &program).expect_code(0).json();
        assert_eq!(report["stdout"], *first.stdout, "{options:?}");
        assert_eq!(report["program"].as_str(), program.to_str());
        assert_eq!([&report["exit_status"], &report["exit_code"]], [0, 0], "{options:?}");
    }
    let result = sandbox(&["--kernel", "6.12", "--engine", "inclusive"], &program).expect_code(125);
    assert!(result.stderr.contains("does not offer the engine inclusive"), "{}", result.stderr);
}

#[test]
fn invalid_programs_are_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = build(dir.path());
    let valid = fs::read(&program).expect("a program");
    let word =
        |offset: usize| u32::from_le_bytes(std::array::from_fn(|i| valid[offset + i])) as usize;
    // Offsets of the PE signature, the optional header and the section table.
    let signature = word(0x3c);
    let (optional_header, sections) = (signature + 24, signature + 24 + 240);
    let with_word = |offset: usize, value: u32| {
        let mut bytes = valid.clone();
        bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    // VirtualSize and SizeOfRawData of section 0.
    let mut empty_section = with_word(sections + 8, 0);
    empty_section[sections + 16..sections + 20].fill(0);
    // NumberOfSections is in the upper half of the word with Machine.
    let section_count = u32::from(valid[signature + 6]) << 16;
    let broken = dir.path().join("broken.exe");
    for (bytes, words) in [
        (b"hello\n".to_vec(), "it is not a PE file"),
        (valid[..200].to_vec(), "it is truncated"),
        (valid[..0x500].to_vec(), "it is truncated"),
        (with_word(signature + 4, section_count | 0xaa64), "it is for arm64"),
        // The import directory points into the code.
        (with_word(optional_header + 112 + 8, 0x1000), "it has imports"),
        (empty_section, "its section 0 has no length"),
        // VirtualAddress of section 1.
        (with_word(sections + 40 + 12, 0x1000), "its section 1 overlaps"),
        // AddressOfEntryPoint and SizeOfImage.
        (with_word(optional_header + 16, 0x10_0000), "is not in an executable section"),
        (with_word(optional_header + 56, 0x1000_0000), "larger in memory"),
    ] {
        fs::write(&broken, bytes).expect("a file");
        let result = sandbox(&[], &broken).expect_code(129);
        assert!(result.stderr.contains(words), "{words}: {}", result.stderr);
        assert_eq!((result.stderr.lines().count(), &*result.stdout), (1, ""), "{}", result.stderr);
    }
    let result = sandbox(&[], &dir.path().join("nowhere.exe")).expect_code(129);
    assert!(result.stderr.contains("cannot be read"), "{}", result.stderr);
    let result = sandbox(&[], Path::new("/dev/zero")).expect_code(129);
    assert!(result.stderr.contains("is not a regular file"), "{}", result.stderr);
    let result = sandbox(&["--engine", "warp"], &program).expect_code(129);
    assert!(result.stderr.contains("notification"), "{}", result.stderr);
}
