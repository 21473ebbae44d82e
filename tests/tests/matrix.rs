// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many kernels by one command, whole and in shards.

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use sudbox_tests::{Tree, assert_same_but_times, hopeless, run, start, sudbox};

fn matrix(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.arg("matrix").args(arguments);
    if !arguments.contains(&"--cases") {
        command.args(["--cases", "arguments,selector"]);
    }
    command
}

#[test]
fn kernels_are_compared_and_the_worst_decides() {
    let dir = tempfile::tempdir().unwrap();
    let hopeless = hopeless(dir.path());
    let tree = Tree::with(&["hook-removed.patch"]);
    let kernels = format!("6.12 {hopeless} {}", tree.argument());
    let ran = run(matrix(&["--kernels", &kernels])).expect(1);
    for words in [
        "1  6.12, x86_64, default: Linux 6.12.",
        "NOT JUDGED (125): ",
        "BROKEN: ",
        "pass -> fail: ",
        "3 kernels: 1 broken, 1 not judged, 1 as expected",
        "again     sudbox run ",
    ] {
        assert!(ran.stdout.contains(words), "`{words}` is not in:\n{}", ran.stdout);
    }
    let folder = ran.folder();
    for file in ["matrix.txt", "matrix.json", "junit.xml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(folder.join("matrix.txt")).unwrap(), ran.stdout);
    let report = folder.join("0001-6.12-x86_64-default/report.json");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["judgement"], "kept");
    let whole: Value =
        serde_json::from_slice(&fs::read(folder.join("matrix.json")).unwrap()).unwrap();
    assert_eq!(whole["cells"][0]["report"], report);
    assert_eq!(whole["cells"][1]["failed"]["exit_code"], 125);
    assert_eq!(whole["exit_code"], 1);
}

#[test]
fn shards_make_the_report_of_the_unsplit_run_and_a_lost_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let hopeless = hopeless(dir.path());
    let image = {
        let cache = sudbox_images::Cache::open().unwrap();
        let _ = run(matrix(&["--kernels", "6.12"])).expect(0);
        let mut told = sudbox_tests::Told;
        let mut ctx = sudbox_images::Ctx::new(&cache, &mut told);
        sudbox_images::kernel(&mut ctx, &sudbox_images::Request::default()).unwrap()
    };
    let kernels = format!("6.12 {} {hopeless}", image.kernel.display());
    let whole = run(matrix(&["--kernels", &kernels, "--format", "json"])).expect(125);

    let list = run(matrix(&["--kernels", &kernels, "--list"])).expect(0).json();
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    assert_eq!(list[0], json!({ "kernel": "6.12", "arch": "x86_64", "flavour": "default" }));
    let shard = |which: usize| {
        let shard = format!("{which}/2");
        let list = run(matrix(&["--kernels", &kernels, "--list", "--shard", &shard])).expect(0);
        assert_eq!(list.json().as_array().map(Vec::len), Some(3 - which));
        let ran = run(matrix(&["--kernels", &kernels, "--format", "json", "--shard", &shard]));
        let file = dir.path().join(format!("{which}.json"));
        fs::write(&file, &ran.stdout).unwrap();
        file.to_str().expect("text").to_owned()
    };
    let merge = |parts: &[&str], format: &str| {
        let mut command = sudbox();
        command.args(["report", "merge", "--format", format]).args(parts);
        run(command)
    };
    let (first, second) = (shard(1), shard(2));

    // The second was killed as it wrote.
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, &text[..text.len() / 2]).unwrap();
    let early = merge(&[&first, &second], "json").expect(128);
    let early_folder = dir.path().join("early");
    fs::create_dir(&early_folder).unwrap();
    fs::write(early_folder.join("matrix.json"), &early.stdout).unwrap();
    let missing = early.stderr.lines().find_map(|line| line.trim_start().strip_prefix("missing  "));
    let missing = missing.unwrap_or_else(|| panic!("not named: {}", early.stderr));
    let again = format!("{} > {second}", missing.replacen("sudbox ", "\"$0\" ", 1));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&again).arg(sudbox().get_program());
    let _ = run(shell).expect(0);

    let merged = merge(&[&second, &first], "json").expect(125);
    assert_same_but_times(&merged.stdout, &whole.stdout);
    let late = merge(&[&second, early_folder.to_str().expect("text")], "json").expect(125);
    assert_eq!(late.stdout, merged.stdout);
    for format in ["table", "junit"] {
        let merged = merge(&[&first, &second], format).expect(125);
        let late = merge(&[&second, early_folder.to_str().expect("text")], format).expect(125);
        assert_eq!(late.stdout, merged.stdout, "{format}");
    }
}

#[test]
fn mistakes_are_told_before_anything_is_built() {
    for (arguments, words) in [
        (&["--kernels", " "][..], "names no kernel"),
        (&["--kernels", "6.12 banana"], "banana"),
        (&["--kernels", "6.12 running"], "`sudbox run running`"),
        (&["--kernels", "6.12", "--flavours", "default vanilla"], "vanilla"),
        (&["--kernels", "6.12", "--arches", "pdp11"], "pdp11"),
        (&["--kernels", "6.12", "--shard", "3/2"], "I/N"),
        (&["--kernels", "6.12", "--gdb"], "--gdb"),
    ] {
        let ran = run(matrix(arguments)).expect(129);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "not a report\n").unwrap();
    let mut command = sudbox();
    command.args(["report", "merge"]).arg(&file);
    let ran = run(command).expect(129);
    assert!(ran.stderr.contains("notes.txt is no part of a matrix"), "{}", ran.stderr);
}

#[test]
fn an_interrupt_ends_all_vms_and_leaves_nothing() {
    let mut running = start(matrix(&["--kernels", "6.12", "--cases", "stress", "--cpus", "2"]));
    running.wait_for("machine  6.12");
    running.signal(libc::SIGINT);
    let ran = running.finish().expect(130);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
}
