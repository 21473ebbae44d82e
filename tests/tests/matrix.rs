// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox matrix`: many kernels by one command, at once and in shards.

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use sudbox_tests::{Tree, assert_same_but_times, run, start, sudbox, unbuildable_tree};

fn matrix(arguments: &[&str]) -> Command {
    let mut command = sudbox();
    command.arg("matrix").args(arguments);
    if !arguments.contains(&"--cases") {
        command.args(["--cases", "arguments,selector"]);
    }
    command
}

#[test]
fn kernels_are_compared_and_the_worst_exit_code_is_that_of_the_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let unbuildable_tree = unbuildable_tree(dir.path());
    let tree = Tree::with_faults(&["hook-removed.patch"]);
    let kernels = format!("6.12 {unbuildable_tree} {}", tree.argument());
    let result = run(matrix(&["--kernels", &kernels])).expect_code(1);
    for words in [
        "1  6.12, x86_64, default: Linux 6.12.",
        "NOT JUDGED (125): ",
        "BROKEN: ",
        "pass -> fail: ",
        "3 kernels: 1 broken, 1 not judged, 1 as expected",
        "again     sudbox run ",
    ] {
        assert!(result.stdout.contains(words), "`{words}` is not in:\n{}", result.stdout);
    }
    let folder = result.folder();
    for file in ["matrix.txt", "matrix.json", "junit.xml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::read_to_string(folder.join("matrix.txt")).unwrap(), result.stdout);
    let report = folder.join("0001-6.12-x86_64-default/report.json");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report["judgement"], "kept");
    let matrix: Value =
        serde_json::from_slice(&fs::read(folder.join("matrix.json")).unwrap()).unwrap();
    assert_eq!(matrix["cells"][0]["report"], report);
    assert_eq!(matrix["cells"][1]["failed"]["exit_code"], 125);
    assert_eq!(matrix["exit_code"], 1);
}

#[test]
fn merged_shards_equal_the_unsplit_run_and_a_lost_shard_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let unbuildable_tree = unbuildable_tree(dir.path());
    let image = {
        let cache = sudbox_images::Cache::open().unwrap();
        let _ = run(matrix(&["--kernels", "6.12"])).expect_code(0);
        let mut monitor = sudbox_tests::StderrMonitor;
        let mut ctx = sudbox_images::Ctx::new(&cache, &mut monitor);
        sudbox_images::kernel(&mut ctx, &sudbox_images::Request::default()).unwrap()
    };
    let kernels = format!("6.12 {} {unbuildable_tree}", image.kernel.display());
    let unsplit = run(matrix(&["--kernels", &kernels, "--format", "json"])).expect_code(125);

    let list = run(matrix(&["--kernels", &kernels, "--list"])).expect_code(0).json();
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    assert_eq!(list[0], json!({ "kernel": "6.12", "arch": "x86_64", "flavour": "default" }));
    // Runs a shard and returns the path of its report.
    let run_shard = |number: usize| {
        let shard = format!("{number}/2");
        let list =
            run(matrix(&["--kernels", &kernels, "--list", "--shard", &shard])).expect_code(0);
        assert_eq!(list.json().as_array().map(Vec::len), Some(3 - number));
        let result = run(matrix(&["--kernels", &kernels, "--format", "json", "--shard", &shard]));
        let file = dir.path().join(format!("{number}.json"));
        fs::write(&file, &result.stdout).unwrap();
        file.to_str().expect("text").to_owned()
    };
    let merge = |parts: &[&str], format: &str| {
        let mut command = sudbox();
        command.args(["report", "merge", "--format", format]).args(parts);
        run(command)
    };
    let (first, second) = (run_shard(1), run_shard(2));

    // A shard that is killed while it writes its report leaves a truncated file.
    let text = fs::read_to_string(&second).unwrap();
    fs::write(&second, &text[..text.len() / 2]).unwrap();
    let incomplete = merge(&[&first, &second], "json").expect_code(128);
    let incomplete_folder = dir.path().join("incomplete");
    fs::create_dir(&incomplete_folder).unwrap();
    fs::write(incomplete_folder.join("matrix.json"), &incomplete.stdout).unwrap();
    let incomplete_folder = incomplete_folder.to_str().expect("text");
    // stderr has the command that runs the missing shard.
    let mut lines = incomplete.stderr.lines();
    let command = lines.find_map(|line| line.trim_start().strip_prefix("missing  "));
    let command = command.unwrap_or_else(|| panic!("no command: {}", incomplete.stderr));
    let script = format!("{} > {second}", command.replacen("sudbox ", "\"$0\" ", 1));
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&script).arg(sudbox().get_program());
    let _ = run(shell).expect_code(0);

    let merged = merge(&[&second, &first], "json").expect_code(125);
    assert_same_but_times(&merged.stdout, &unsplit.stdout);
    let merged_later = merge(&[&second, incomplete_folder], "json").expect_code(125);
    assert_eq!(merged_later.stdout, merged.stdout);
    for format in ["table", "junit"] {
        let merged = merge(&[&first, &second], format).expect_code(125);
        let merged_later = merge(&[&second, incomplete_folder], format).expect_code(125);
        assert_eq!(merged_later.stdout, merged.stdout, "{format}");
    }
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_built() {
    for (arguments, words) in [
        (&["--kernels", " "][..], "names no kernel"),
        (&["--kernels", "6.12 banana"], "banana"),
        (&["--kernels", "6.12 running"], "`sudbox run running`"),
        (&["--kernels", "6.12", "--flavours", "default vanilla"], "vanilla"),
        (&["--kernels", "6.12", "--arches", "pdp11"], "pdp11"),
        (&["--kernels", "6.12", "--shard", "3/2"], "I/N"),
        (&["--kernels", "6.12", "--gdb"], "--gdb"),
    ] {
        let result = run(matrix(arguments)).expect_code(129);
        assert!(result.stderr.contains(words), "{}", result.stderr);
        assert!(result.stdout.is_empty(), "{}", result.stdout);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "not a report\n").unwrap();
    let mut command = sudbox();
    command.args(["report", "merge"]).arg(&file);
    let result = run(command).expect_code(129);
    assert!(result.stderr.contains("notes.txt is no part of a matrix"), "{}", result.stderr);
}

#[test]
fn an_interrupt_ends_all_vms_and_leaves_nothing() {
    let mut running = start(matrix(&["--kernels", "6.12", "--cases", "stress", "--cpus", "2"]));
    running.wait_for("machine  6.12");
    running.signal(libc::SIGINT);
    let result = running.finish().expect_code(130);
    assert!(result.stdout.is_empty(), "{}", result.stdout);
}
