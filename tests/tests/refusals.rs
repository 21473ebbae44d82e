// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options and arguments that do not apply are refused with exit code 129, not ignored.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use sudbox_tests::{built_kernel_of, root, run, sudbox, sudbox_run};

#[test]
fn options_that_do_not_apply_to_the_running_kernel_are_refused() {
    let foreign = if cfg!(target_arch = "aarch64") { "x86_64" } else { "aarch64" };
    run(sudbox_run(&["running", "--arch", foreign]))
        .expect_error(129, &["--arch", "the architecture of this machine"]);
    for (option, value) in
        [("--memory", "512"), ("--cpus", "2"), ("--linux", "/none"), ("--cc", "cc")]
    {
        run(sudbox_run(&["running", option, value])).expect_error(129, &[option]);
    }
}

#[test]
fn a_fifo_is_refused_without_waiting_for_a_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let started = Instant::now();
    let fifo = fifo.to_str().expect("UTF-8");
    run(sudbox_run(&[fifo])).expect_error(129, &["not a regular file"]);
    run(sudbox_run(&["/dev/null"])).expect_error(129, &["not a regular file"]);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn boot_arguments_for_init_are_refused() {
    let result = run(sudbox_run(&["--append", "-- foo"])).expect_code(129);
    assert!(result.stderr.contains("leave the `--` out"), "{}", result.stderr);
}

#[test]
fn words_that_select_no_case_are_refused() {
    run(sudbox_run(&["--cases", ","])).expect_error(129, &["names no case"]);
    run(sudbox_run(&["--cases", "selctor/*"])).expect_error(129, &["did you mean `selector/*`?"]);
    run(sudbox_run(&["--cases", "selector !selector"])).expect_error(129, &["selects no case"]);
    let listed = run(sudbox_run(&["--list", "--cases", "!selector"])).expect_code(0);
    assert!(!listed.stdout.contains("selector/"), "{}", listed.stdout);
}

#[test]
fn build_options_for_a_prebuilt_kernel_are_refused() {
    let other_elf_file = std::env::current_exe().expect("this test");
    let other_elf_file = other_elf_file.to_str().expect("UTF-8");
    // sudbox checks the content of an image before the options.
    run(sudbox_run(&[other_elf_file, "--cc", "gcc"])).expect_error(129, &["not a vmlinux"]);
    let kernel = built_kernel();
    for option in [&["--cc", "gcc"][..], &["--flavour", "full"], &["--linux", "/none"]] {
        let arguments = [&[kernel.as_str()], option].concat();
        run(sudbox_run(&arguments)).expect_error(129, &[option[0], "is a prebuilt kernel"]);
    }
    // The configuration of the kernel is beside it.
    let config = Path::new(&kernel).with_file_name("config");
    let config = config.to_str().expect("UTF-8");
    run(sudbox_run(&[&kernel, "--config", config]))
        .expect_error(129, &["--config", "its configuration is known"]);
    let mut exec = sudbox();
    exec.args(["exec", "--kernel", &kernel, "--config", config, "--", "true"]);
    run(exec).expect_error(129, &["--config is a build option"]);
}

/// The vmlinux of the pinned kernel in the cache.
fn built_kernel() -> String {
    built_kernel_of(&run(sudbox_run(&["--cases", "boot"])).expect_code(0).json())
}

#[test]
fn a_vmlinux_that_a_vm_cannot_enter_is_not_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("vmlinux");
    let mut objcopy = Command::new("objcopy");
    objcopy.args(["--remove-section", ".notes", &built_kernel()]).arg(&file);
    assert!(objcopy.status().expect("objcopy").success());
    let result = run(sudbox_run(&[file.to_str().expect("UTF-8")])).expect_code(125);
    assert!(result.stderr.contains("no PVH entry"), "{}", result.stderr);
}

#[test]
fn unknown_variables_of_make_are_refused() {
    let mut make = Command::new("make");
    make.current_dir(root()).args(["-n", "test-kernel", "KERNL=7.3"]);
    let output = make.output().expect("make");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("KERNL= is unknown"), "{stderr}");
    let mut make = Command::new("make");
    make.current_dir(root()).args(["-n", "bench", "CASES=core"]);
    let output = make.output().expect("make");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("CASES= is unknown to `make bench`"));
    let mut make = Command::new("make");
    make.current_dir(root()).args(["-n", "test-kernel", "KERNEL=7.3"]);
    let output = make.output().expect("make");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
