// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `sudbox campaign`: equal failures are one find, and a killed campaign continues.

use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use sudbox_tests::{Tree, run, start, sudbox};

/// Value of `--hours` for about two seconds. Each worker runs one batch, because a batch that has begun
/// is completed.
const MOMENT: &str = "0.0005";

/// `sudbox campaign` with these arguments, on the kernel of `switchable.patch`, which warns when a
/// selector is neither ALLOW nor BLOCK. Each test has its own campaign by its seed.
fn campaign(seed: &str, arguments: &[&str]) -> Command {
    // The tests share the patched tree, so that its kernel is built once.
    static TREE: Mutex<Option<Tree>> = Mutex::new(None);
    let mut tree = TREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let tree = tree.get_or_insert_with(|| Tree::with_faults(&["switchable.patch"]));
    let mut command = sudbox();
    command.args(["campaign", tree.argument(), "--seed", seed, "--format", "json"]);
    // Other boot arguments are another campaign.
    command.args(["--append", &format!("sudbox_fault=warn sudbox_test={seed}")]);
    command.args(arguments);
    command
}

fn number(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"))
}

/// The sum of a count of all hours.
fn total(report: &Value, field: &str) -> u64 {
    let hours = report["hours"].as_array().expect("hours");
    hours.iter().map(|hour| number(hour, field)).sum()
}

#[test]
fn a_fault_is_found_once_and_counts_continue_after_a_kill() {
    let result = run(campaign("0", &["--hours", MOMENT, "--restart"])).expect_code(1);
    let first = result.json();
    assert_eq!(number(&first, "runs"), 1);
    assert!(total(&first, "walks") > 0 && total(&first, "walks").is_multiple_of(200));
    let finds = first["finds"].as_array().expect("finds");
    let failures = total(&first, "failures");
    assert!(failures > finds.len() as u64, "several failures have one signature: {first}");
    let counts: u64 = finds.iter().map(|find| number(find, "count")).sum();
    assert_eq!(counts, failures);
    let signature = |find: &Value| find["signature"].as_str().expect("text").to_owned();
    let is_warning = |find: &&Value| signature(find).contains("WARNING");
    assert!(finds.iter().any(|find| is_warning(&find)), "{first}");

    let mut running = start(campaign("0", &["--hours", "1"]));
    running.wait_for_in_order(&["batch  ", "minutes"]);
    running.signal(libc::SIGKILL);
    let killed = running.finish().expect_code(128 + libc::SIGKILL);
    let batch = killed.stderr.lines().find(|line| line.contains("batch  "));
    let walks_at_kill: u64 = batch
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("the walks of a finished batch");
    assert!(walks_at_kill > total(&first, "walks"));

    let last = run(campaign("0", &["--hours", MOMENT])).expect_code(1).json();
    assert_eq!(number(&last, "runs"), 3);
    assert!(total(&last, "walks") > walks_at_kill, "{last}");
    assert!(total(&last, "walks").is_multiple_of(200), "no batch is counted in part");
    let signatures: Vec<String> =
        last["finds"].as_array().expect("finds").iter().map(signature).collect();
    let mut distinct = signatures.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), signatures.len(), "two finds have one signature");
    for find in finds {
        assert!(signatures.contains(&signature(find)), "a find of the first run is missing");
    }
}

#[test]
fn another_seed_is_refused() {
    let _ = run(campaign("1", &["--hours", MOMENT, "--restart"])).expect_code(1);
    let mut other = sudbox();
    other.args(
        campaign("1", &["--hours", MOMENT])
            .get_args()
            .map(|argument| if argument == "1" { "2".as_ref() } else { argument }),
    );
    let refused = run(other).expect_code(129);
    assert!(refused.stderr.contains("has seed 1"), "{}", refused.stderr);
}
