// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

fn entry(date: &str, image: &str, machine: &str, outcomes: &[(Outcome, &str)]) -> Entry {
    let mut by_outcome: BTreeMap<Outcome, Vec<String>> = BTreeMap::new();
    for (outcome, id) in outcomes {
        by_outcome.entry(*outcome).or_default().push((*id).to_owned());
    }
    Entry {
        start_time: date.into(),
        kernel: "6.12.117, x86_64, default".into(),
        image_id: image.into(),
        machine: machine.into(),
        outcomes: by_outcome,
    }
}

#[test]
fn a_case_with_two_outcomes_on_one_image_and_machine_is_flaky() {
    let (pass, fail) = ((Outcome::Pass, "a/b"), (Outcome::Fail, "a/b"));
    let entries = [
        entry("1", "one", "tcg", &[pass, (Outcome::Pass, "a/c")]),
        entry("2", "one", "tcg", &[pass]),
        entry("3", "one", "tcg", &[fail]),
        entry("4", "two", "tcg", &[pass]),
        entry("5", "two", "kvm", &[fail]),
        entry("6", "", "tcg", &[pass]),
        entry("7", "", "tcg", &[fail]),
    ];
    let history = History::from_entries(&entries, |id| id.starts_with("a/"));
    assert_eq!(history.cases.len(), 2);
    let case = &history.cases[0];
    assert_eq!((case.id.as_str(), case.dated_outcomes.len(), case.flaky.len()), ("a/b", 7, 1));
    assert_eq!(case.flaky[0].counts(), "1 fail, 2 pass");
    assert!(history.cases[1].flaky.is_empty());
    let table = render(&history, Screen::FILE);
    assert_eq!(
        table.lines().take(3).collect::<Vec<_>>(),
        [
            "a/b",
            "  pass    Linux 6.12.117, x86_64, default: 1 to 2, 2 times",
            "  fail    Linux 6.12.117, x86_64, default: 3"
        ]
    );
    let flaky = "  FLAKY   1 fail, 2 pass on the same image of Linux 6.12.117, x86_64, default\n";
    assert!(table.contains(flaky), "{table}");
    assert!(render(&History::from_entries(&entries, |_| false), Screen::FILE).contains("no run"));
}

#[test]
fn entries_are_read_back_and_a_truncated_line_is_skipped() {
    let verdict = Verdict {
        start_time: "2026-11-29T19:43:58Z".into(),
        machine: "qemu on tcg: because, tried in 3 ms".into(),
        options: "--memory 512".into(),
        ..Verdict::default()
    };
    assert_eq!(Entry::from_verdict(&verdict), None);
    let entries = [entry("1", "i", "m", &[(Outcome::Known, "a/b\u{1b}")])];
    let mut text = entries[0].to_line().repeat(2);
    text.truncate(text.len() - 9);
    assert_eq!(Entry::parse_lines(&text), entries);
}
