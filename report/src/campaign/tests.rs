// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::Outcome;

fn passed(id: &str) -> CaseReport {
    CaseReport {
        id: id.into(),
        promise: String::new(),
        kernel_function: "syscall_user_dispatch()".into(),
        outcome: Outcome::Pass,
        expected: String::new(),
        detail: String::new(),
        bug: None,
        log: Vec::new(),
        console: None,
        rerun: String::new(),
        duration_micros: 0,
    }
}

fn failed(id: &str, expected: &str, actual: &str, log: &[&str]) -> CaseReport {
    CaseReport {
        outcome: Outcome::Fail,
        expected: expected.into(),
        detail: actual.into(),
        log: log.iter().map(|line| (*line).to_owned()).collect(),
        ..passed(id)
    }
}

#[test]
fn failures_that_differ_in_numbers_and_steps_are_one_find() {
    let mut campaign = Campaign::default();
    let long = failed(
        "walk/2",
        "in step 3, the call gives 18",
        "in step 3, the call gives 0",
        &["a", "b"],
    );
    let short =
        failed("walk/3", "in step 12, the call gives 5", "in step 9, the call gives 77", &["a"]);
    campaign.add(&[passed("walk/1"), long, short.clone()]);
    assert_eq!(campaign.finds.len(), 1, "{:?}", campaign.finds);
    assert_eq!((campaign.finds[0].count, &campaign.finds[0].example), (2, &short));
    assert_eq!(campaign.total(), Hour { walks: 3, products: 0, failures: 2, finds: 1 });
    let negative =
        failed("walk/4", "in step 1, the call gives 0", "in step 1, the call gives -22", &[]);
    campaign.add(&[negative]);
    assert_eq!(campaign.finds.len(), 2, "a negative error code differs from a value");
    assert_eq!(campaign.exit_code(), 1);
}

#[test]
fn failures_at_different_points_of_the_grid_have_one_signature() {
    let at = |point: &str| {
        let expected = format!("killed by SIGSYS (grid/at-{point}: selector's value 2)");
        failed("grid/random-5", &expected, "the call took effect", &[])
    };
    assert_eq!(signature(&at("0102")), signature(&at("02")));
    let mut campaign = Campaign::default();
    campaign.add(&[at("0102")]);
    assert_eq!(campaign.total().products, 1);
}

#[test]
fn each_hour_has_its_own_counts() {
    let walk = passed("walk/1");
    let mut campaign = Campaign::default();
    campaign.add(std::slice::from_ref(&walk));
    campaign.duration_millis = 2 * 3_600_000 + 1;
    campaign.add(&[walk]);
    let walks: Vec<u64> = campaign.hours.iter().map(|hour| hour.walks).collect();
    assert_eq!(walks, [1, 0, 1]);
}

#[test]
fn the_reached_code_is_shown_by_file_and_absent_without_a_record() {
    let file = |file: &str, reached, blocks| FileCoverage { file: file.into(), reached, blocks };
    let files = vec![file("kernel/signal.c", 300, 900), file("kernel/ptrace.c", 20, 100)];
    let coverage = Coverage { kept: 12, kept_changes: 5, replays: 24, files };
    let campaign = Campaign { coverage: Some(coverage), ..Campaign::default() };
    let text = table::render(&campaign, crate::Screen::FILE);
    for line in [
        "    300         900  kernel/signal.c",
        "    320        1000  all",
        "12 walks are kept, 5 of them changed from others; kept walks were replayed 24 times",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let without = serde_json::to_value(Campaign::default()).expect("JSON");
    assert_eq!(without.get("coverage"), None);
}
