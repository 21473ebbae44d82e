// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Wrong arguments and unsuitable machines: each gives the right exit code and one line of error.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use sudbox_tests::{RunOutput, cache_dir, programs_without, run, sudbox, sudbox_run};

#[test]
fn a_text_file_is_no_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "not a kernel\n").unwrap();
    run(sudbox_run(&[file.to_str().unwrap()])).expect_error(129, &["notes.txt"]);
}

/// A bzImage of 8192 bytes: a valid setup header (Documentation/arch/x86/boot.rst) and no code.
fn valid_bzimage() -> Vec<u8> {
    let mut image = vec![0u8; 8192];
    // setup_sects and syssize, in units of 512 and 16 bytes.
    image[0x1f1] = 4;
    image[0x1f4..0x1f8].copy_from_slice(&0x0100_u32.to_le_bytes());
    // boot_flag, header, version, xloadflags (XLF_KERNEL_64).
    image[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x236] = 1;
    image
}

#[test]
fn a_bzimage_that_is_cut_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bzImage");
    let mut image = valid_bzimage();
    // syssize, in units of 16 bytes: more than the file contains.
    image[0x1f4..0x1f8].copy_from_slice(&0x0010_0000_u32.to_le_bytes());
    fs::write(&file, image).unwrap();
    run(sudbox_run(&[file.to_str().unwrap()])).expect_error(129, &["bzImage"]);
}

#[test]
fn unknown_versions_and_missing_files_are_named() {
    run(sudbox_run(&["banana"])).expect_error(129, &["banana"]);
    run(sudbox_run(&["./no/such/tree"])).expect_error(129, &["no/such/tree"]);
}

#[test]
fn unknown_cases_flavours_and_architectures_are_named() {
    run(sudbox_run(&["--cases", "selektor"])).expect_error(129, &["selektor"]);
    run(sudbox_run(&["--flavour", "vanilla"])).expect_error(129, &["vanilla"]);
    run(sudbox_run(&["--arch", "pdp11"])).expect_error(129, &["pdp11"]);
}

#[test]
fn missing_and_unusable_patches_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (notes, patch, image) = (path("notes"), path("x.patch"), path("bzImage"));
    fs::write(&notes, "no patch\n").unwrap();
    fs::write(&patch, "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-1\n+2\n").unwrap();
    fs::write(&image, valid_bzimage()).unwrap();
    let run_with_patches =
        |kernel: &str, patches: &str| run(sudbox_run(&[kernel, "--patches", patches]));
    run_with_patches("6.12", &path("none")).expect_error(129, &["none", "mailbox"]);
    run_with_patches("6.12", &notes).expect_error(129, &["notes", "changes no file"]);
    run_with_patches(&image, &patch)
        .expect_error(129, &["--patches", "bzImage is a prebuilt kernel"]);
}

/// Checks that stderr has no character that controls a terminal and no line that a CI service takes for a
/// command.
fn check_is_harmless(result: &RunOutput) {
    let text = &result.stderr;
    assert!(text.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
    assert!(!text.contains("##["), "{text}");
}

#[test]
fn text_of_a_patch_or_a_script_controls_neither_terminal_nor_ci() {
    const HOSTILE: &str = "\x1b]0;title\x07\x1b[31m\u{9b}2J\u{202e}x\r::add-mask::y ##[error]z";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.mbox");
    let mail = format!(
        "From git@z Thu Jan  1 00:00:00 1970\nSubject: {HOSTILE}\nContent-Transfer-Encoding: base64\n\n\
         --- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-1\n+2\n"
    );
    fs::write(&file, mail).unwrap();
    let patches = run(sudbox_run(&["6.12", "--patches", file.to_str().unwrap()]));
    check_is_harmless(&patches);
    patches.expect_error(129, &["x.mbox", "\\u{1b}]0;title", "plain text"]);
    for arguments in [["--cases", HOSTILE], ["--no-such-option", HOSTILE], [HOSTILE, "--exact"]] {
        let result = run(sudbox_run(&arguments));
        check_is_harmless(&result);
        assert_eq!(result.code, 129, "{}", result.stderr);
    }
}

#[test]
fn a_pinned_kernel_of_another_architecture_is_refused() {
    run(sudbox_run(&["6.12-sud"])).expect_error(129, &["6.12-sud", "not for x86_64"]);
}

#[test]
fn packages_of_another_architecture_are_refused() {
    run(sudbox_run(&["deb:6.12", "--arch", "aarch64"]))
        .expect_error(129, &["deb:6.12", "for aarch64"]);
}

#[test]
fn usage_is_129_too() {
    let mut command = sudbox();
    command.args(["run", "--no-such-option"]);
    assert_eq!(run(command).code, 129);
}

#[test]
fn without_qemu_the_machine_is_at_fault() {
    // The kernel is in the cache, so only QEMU is missing. Without a package manager, sudbox cannot
    // install QEMU.
    let _ = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    let bin = programs_without(&["qemu-system-", "apt", "dnf", "pacman", "zypper"]);
    let mut command = sudbox_run(&[]);
    command.env("PATH", bin.path());
    run(command).expect_error(128, &["qemu-system-x86_64"]);
}

#[test]
fn missing_tools_for_guest_init_are_named_before_anything_is_built() {
    let bin = programs_without(&["cargo", "riscv64-", "apt", "dnf", "pacman", "zypper"]);
    let add = |name: &str, script: &str| {
        let program = bin.path().join(name);
        // Do not write through a symlink to the machine's own program.
        let _ = fs::remove_file(&program);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    };
    add("qemu-system-riscv64", "exit 1");
    let cache = tempfile::tempdir().unwrap();
    let check_missing = |tool: &str| {
        let mut command = sudbox_run(&["6.12", "--arch", "riscv64"]);
        command.env("SUDBOX_CACHE", cache.path()).env("PATH", bin.path());
        let result = run(command);
        assert!(!result.stderr.contains("looking for"), "{}", result.stderr);
        result.expect_error(128, &[tool]);
    };
    check_missing("riscv64-linux-gnu-gcc with a static C library");
    add("riscv64-linux-gnu-gcc", "echo /libc.a");
    check_missing("cargo is missing");
}

/// Runs a shell script that mounts a file system on `$disk` and executes `"$@"`, which is `sudbox run
/// 6.12` with the cache in `$disk`. `$cached` is the ordinary cache.
fn on_a_small_disk(script: &str) -> RunOutput {
    let _ = run(sudbox_run(&["--cases", "boot"])).expect_code(0);
    let dir = tempfile::tempdir().unwrap();
    // The file system ends with the last process of the mount namespace.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-e", "-c", script, "sh"]);
    let inner = sudbox_run(&["6.12"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env("SUDBOX_CACHE", dir.path()).env("cached", cache_dir()).env("disk", dir.path());
    run(command)
}

#[test]
fn a_disk_that_is_full_during_the_download_is_the_machines_fault() {
    let result = on_a_small_disk("mount -t tmpfs -o size=48m tmpfs \"$disk\"; exec \"$@\"");
    result.expect_error(128, &["disk is full"]);
}

#[test]
fn a_disk_that_is_full_during_the_build_is_the_machines_fault() {
    let result = on_a_small_disk(
        "mount -t tmpfs -o size=6g tmpfs \"$disk\"
         mkdir \"$disk/sources\"
         cp -a \"$cached/sources\"/6.12.*-x86_64 \"$disk/sources\"
         cp -a \"$cached/resolved\" \"$disk\"
         left=$(df --output=avail -B1 \"$disk\" | tail -n 1)
         fallocate -l $((left - (6 << 20))) \"$disk/ballast\"
         exec \"$@\"",
    );
    assert!(result.stderr.contains("building"), "{}", result.stderr);
    result.expect_error(128, &["disk is full"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let mut command = sudbox_run(&[]);
    command.env("SUDBOX_CACHE", "/proc/sudbox");
    run(command).expect_error(128, &["/proc/sudbox"]);
    assert!(cache_dir().exists());
}
