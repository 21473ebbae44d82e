// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The forms of a matrix, and merging of shards.

mod common;

use common::{case, every_outcome, rendered};
use proptest::prelude::*;
use sudbox_report::matrix::{
    Cell, CellResult, Matrix, MergeError, ParseError, Plan, differences, merge, parse, shard_of,
};
use sudbox_report::{Kernel, Outcome, Report as _, Screen, Verdict};

const COMMAND: &str = "sudbox matrix --kernels '6.12 6.13 ./broken v6.99'";

fn cell(kernel: &str) -> Cell {
    Cell { kernel: kernel.into(), arch: "x86_64".into(), flavour: "default".into() }
}

fn judged(verdict: Verdict) -> Option<CellResult> {
    Some(CellResult::Judged(Box::new(verdict)))
}

fn failed(exit_code: u8, reason: &str) -> Option<CellResult> {
    Some(CellResult::Failed { exit_code, reason: reason.into() })
}

fn verdict(cases: &[(&str, Outcome)]) -> Verdict {
    Verdict {
        cases: cases.iter().map(|(id, outcome)| case(id, *outcome, "seen")).collect(),
        kernel: Kernel { release: "6.13.1".into(), ..Kernel::default() },
        boot_selected: true,
        ..Verdict::default()
    }
}

/// A matrix with these kernels and their results.
fn matrix_of(kernels: Vec<(&str, Option<CellResult>)>) -> Matrix {
    let (cells, results) = kernels.into_iter().map(|(name, result)| (cell(name), result)).unzip();
    let plan = Plan {
        sudbox_version: "0.1.0".into(),
        command: COMMAND.into(),
        strict: false,
        boot_selected: true,
        cells,
    };
    Matrix { plan, shards: None, results }
}

fn sample() -> Matrix {
    let mut newer = every_outcome();
    newer.kernel.reference = "6.13".into();
    newer.kernel.release = "6.13.1".into();
    newer.kernel.substitution_note = None;
    for case in &mut newer.cases {
        match case.outcome {
            Outcome::Absent => case.outcome = Outcome::Pass,
            Outcome::Crash | Outcome::Hang => case.outcome = Outcome::Known,
            Outcome::Changed => case.outcome = Outcome::Pass,
            _ => {}
        }
    }
    matrix_of(vec![
        ("6.12", judged(every_outcome())),
        ("./broken", failed(125, "make vmlinux failed: kernel/fork.c:1: error: expected ';'")),
        ("6.13", judged(newer)),
        ("v6.99", failed(129, "there is no Linux v6.99")),
    ])
}

const TABLE: &str = r#"  1  6.12, x86_64, default: Linux 6.12.117, BROKEN: 4 (1 crash, 1 hang, 1 fail, 1 changed, 1 fixed,
     2 unmet, 1 known, 2 absent, 3 pass) (v6.12 is not to be had here, 6.12.117 stands in for it.)
  2  ./broken, x86_64, default: NOT JUDGED (125): make vmlinux failed: kernel/fork.c:1: error:
     expected ';'
  3  6.13, x86_64, default: Linux 6.13.1, BROKEN: 1 (1 fail, 1 fixed, 2 unmet, 3 known, 6 pass)
  4  v6.99, x86_64, default: NOT JUDGED (129): there is no Linux v6.99

pass         1 6.12        3 6.13
  arguments  2             2
  selector   1/2 FAIL      1/2 FAIL
  registers  0/3 CRASH     0/3 unmet
  signals    0/1 HANG      0/1 known
  compare    0/1 CHANGED   1
  range      0/3 fixed     2/3 fixed
  ptrace     0/1 known     0/1 known

differs     from the one before it
  6.12 -> 6.13
    crash -> known: registers/all-kept
    hang -> known: signals/nested
    changed -> pass: compare/trap
    absent -> pass: range/inclusive-on range/inclusive-wraps

FAIL    selector/invalid-value-kills on 6.12, x86_64, default
  expected  death by SIGSYS
  got       it exited with 0
  again     sudbox run --kernel v6.12 selector/invalid-value-kills

CRASH   registers/all-kept on 6.12, x86_64, default
  expected  the kernel goes on
  got       BUG: kernel NULL pointer dereference
  again     sudbox run --kernel v6.12 registers/all-kept

HANG    signals/nested on 6.12, x86_64, default
  expected  an end
  got       no end within 2 s
  again     sudbox run --kernel v6.12 signals/nested

CHANGED compare/trap on 6.12, x86_64, default
  expected  as recorded of 6.12.117: frame.si_errno = 0x0
  got       frame.si_errno = 0x26
  again     sudbox run --kernel v6.12 compare/trap

FAIL    selector/invalid-value-kills on 6.13, x86_64, default
  expected  death by SIGSYS
  got       it exited with 0
  again     sudbox run --kernel v6.12 selector/invalid-value-kills

4 kernels: 2 broken, 2 not judged
"#;

#[test]
fn the_table_of_a_matrix_has_differences_and_unjudged_kernels() {
    let table = rendered(&sample(), "table");
    assert_eq!(table, TABLE, "{table}");
    let colourful = (Matrix::FORMS[0].render)(&sample(), Screen::terminal(100, true));
    assert!(colourful.contains("\u{1b}[31m") && colourful.contains("\u{1b}[33m"));
}

#[test]
fn exit_code_is_1_for_a_broken_promise_else_the_highest_code() {
    let code = |results: Vec<Option<CellResult>>| {
        matrix_of(results.into_iter().map(|result| ("6.12", result)).collect()).exit_code()
    };
    let intact = || judged(verdict(&[("a/b", Outcome::Pass)]));
    let broken = || judged(verdict(&[("a/b", Outcome::Fail)]));
    let without_cases = || judged(verdict(&[]));
    assert_eq!(code(vec![intact(), intact()]), 0);
    assert_eq!(code(vec![intact(), without_cases()]), 125);
    assert_eq!(code(vec![without_cases(), failed(128, "disk full"), intact()]), 128);
    assert_eq!(code(vec![failed(129, "what?"), failed(128, "disk full")]), 129);
    assert_eq!(code(vec![failed(129, "what?"), broken(), intact()]), 1);
    assert_eq!(code(vec![None, intact()]), 0);
}

#[test]
fn only_judged_neighbours_that_differ_in_one_part_are_compared() {
    let mut matrix = matrix_of(vec![
        ("6.1", judged(verdict(&[("a/b", Outcome::Absent), ("a/c", Outcome::Pass)]))),
        ("6.2", judged(verdict(&[]))),
        ("6.3", judged(verdict(&[("a/b", Outcome::Pass), ("a/c", Outcome::Pass)]))),
        ("6.1", judged(verdict(&[("a/b", Outcome::Fail)]))),
        ("6.3", judged(verdict(&[("a/b", Outcome::Fail), ("a/d", Outcome::Pass)]))),
    ]);
    for cell in &mut matrix.plan.cells[3..] {
        cell.flavour = "full".into();
    }
    let differences = differences(&matrix);
    let compared_cells: Vec<(usize, usize)> = differences
        .iter()
        .map(|difference| (difference.first_index, difference.second_index))
        .collect();
    assert_eq!(compared_cells, [(0, 2), (3, 4)]);
    assert_eq!(differences[0].changes.len(), 1);
    assert_eq!(differences[0].changes[0].cases, ["a/b"]);
    let change = &differences[1].changes[0];
    assert_eq!((change.before, change.after), (None, Some(Outcome::Pass)));
    assert!(rendered(&matrix, "table").contains("6.1 -> 6.3, full"));
}

#[test]
fn no_line_of_the_table_is_longer_than_a_hundred_characters() {
    let long_word = "x".repeat(300);
    let mut wide_verdict =
        verdict(&[("arguments/zero-offset", Outcome::Fail), ("b/c", Outcome::Pass)]);
    wide_verdict.cases[0].rerun = String::new();
    wide_verdict.kernel.release = long_word.clone();
    let kernels: Vec<_> = (0..30)
        .map(|number| (format!("{long_word}-{number}"), judged(wide_verdict.clone())))
        .collect();
    let matrix =
        matrix_of(kernels.iter().map(|(name, result)| (name.as_str(), result.clone())).collect());
    for line in rendered(&matrix, "table").lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn junit_has_the_suites_of_every_kernel_under_its_name() {
    let xml = rendered(&sample(), "junit");
    for name in [
        "testsuite name=\"6.12.x86_64.default.selector\"",
        "testsuite name=\"6.13.x86_64.default.selector\"",
        "testsuite name=\"./broken.x86_64.default.kernel\"",
        "classname=\"6.13.x86_64.default.selector\"",
    ] {
        assert!(xml.contains(name), "{name}\n{xml}");
    }
}

#[test]
fn annotations_name_failures_and_unjudged_kernels() {
    let annotations = rendered(&sample(), "annotations");
    let lines: Vec<&str> = annotations.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("::error title=")), "{annotations}");
    // Four failures of the first kernel, a kernel that does not build, a failure of the third kernel, and
    // an unknown release.
    assert_eq!(lines.len(), 7, "{annotations}");
    assert!(
        lines[4].starts_with("::error title=./broken%2C x86_64%2C default%3A not judged::make")
    );
    assert_eq!(
        rendered(
            &matrix_of(vec![("6.12", judged(verdict(&[("a/b", Outcome::Pass)])))]),
            "annotations"
        ),
        ""
    );
}

#[test]
fn a_guest_cannot_forge_workflow_commands() {
    let mut hostile = verdict(&[("a/b", Outcome::Fail), ("a/c", Outcome::Fail)]);
    for case in &mut hostile.cases {
        case.id = "a/b::x,y\n::add-mask::1".into();
        case.detail = "100%0A\r\n::stop-commands::x\u{2028}::error::y".into();
    }
    let text = rendered(&matrix_of(vec![("6.12", judged(hostile))]), "annotations");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.is_ascii() && text.contains("100%250A") && !text.contains("a/b::"), "{text}");
    let many = verdict(&[("a/b", Outcome::Fail); 40]);
    let text = rendered(&matrix_of(vec![("6.12", judged(many))]), "annotations");
    assert!(text.ends_with("::error::31 more: see the report\n"), "{text}");
}

#[test]
fn a_truncated_matrix_is_distinguished_from_other_files() {
    let text = rendered(&sample(), "json");
    for end in [0, 1, text.len() / 2, text.len() - 3] {
        assert!(matches!(parse(&text[..end]), Err(ParseError::Truncated)), "{end}");
    }
    for foreign in ["{}", "[]", "nonsense", &text.replacen("\"schema\": 1", "\"schema\": 2", 1)] {
        assert!(matches!(parse(foreign), Err(ParseError::NotAMatrix(_))), "{foreign}");
    }
}

#[test]
fn parts_of_different_matrices_are_not_merged() {
    let mut other = sample();
    other.plan.command.push_str(" --strict");
    let parts = vec![("a".to_owned(), sample()), ("b".to_owned(), other)];
    assert!(matches!(merge(parts), Err(MergeError::DifferentMatrices { .. })));
    let split = |shards| Matrix { shards: Some(shards), ..sample() };
    let parts = vec![("a".to_owned(), split(2)), ("b".to_owned(), split(3))];
    assert!(matches!(merge(parts), Err(MergeError::DifferentMatrices { .. })));
    assert!(matches!(merge(Vec::new()), Err(MergeError::NoParts)));
}

#[test]
fn different_verdicts_on_a_cell_are_refused_and_a_verdict_replaces_a_failure() {
    let part = |result| matrix_of(vec![("6.12", result)]);
    let merged = |a, b| {
        merge(vec![("a".to_owned(), part(a)), ("b".to_owned(), part(b))])
            .map(|matrix| matrix.results[0].clone())
    };
    let intact = || judged(verdict(&[("a/b", Outcome::Pass)]));
    let broken = || judged(verdict(&[("a/b", Outcome::Fail)]));
    let error = merged(intact(), broken()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`a` and `b` hold different verdicts on 6.12, x86_64, default: give only one of them"
    );
    assert_eq!(merged(intact(), intact()).unwrap(), intact());
    for (a, b) in [(failed(128, "disk full"), intact()), (intact(), failed(128, "disk full"))] {
        assert_eq!(merged(a, b).unwrap(), intact());
    }
    let reasons = [failed(128, "disk full"), failed(125, "zzz")];
    let [a, b] = reasons.clone();
    assert_eq!(merged(a, b).unwrap(), reasons[0]);
    let [a, b] = reasons.clone();
    assert_eq!(merged(b, a).unwrap(), reasons[0]);
}

prop_compose! {
    fn any_result()(
        kind in 0..4u8,
        outcomes in prop::collection::vec(prop::sample::select(Outcome::ALL.to_vec()), 0..4),
        words in any::<String>(),
        millis in any::<u64>(),
    ) -> CellResult {
        if kind == 0 {
            return CellResult::Failed { exit_code: 128, reason: words };
        }
        let ids = ["boot/reaches-init", "a/b", "a/c", "d/e"];
        let mut verdict = verdict(&ids.into_iter().zip(outcomes).collect::<Vec<_>>());
        verdict.duration_millis = millis;
        for case in &mut verdict.cases {
            case.detail.clone_from(&words);
            case.console = Some(words.clone());
        }
        CellResult::Judged(Box::new(verdict))
    }
}

fn forms(matrix: &Matrix) -> [String; 6] {
    [
        rendered(matrix, "json"),
        rendered(matrix, "table"),
        (Matrix::FORMS[0].render)(matrix, Screen::terminal(100, true)).to_string(),
        rendered(matrix, "html"),
        rendered(matrix, "junit"),
        rendered(matrix, "kcidb"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Shards, parsed from their JSON and merged in any order, equal the unsplit run in every form. A lost
    /// shard is named and can be merged later.
    #[test]
    fn merging_undoes_any_split(
        results in prop::collection::vec(any_result(), 1..9),
        shards in 1..7usize,
        order in any::<prop::sample::Index>(),
        lost_part in any::<prop::sample::Index>(),
    ) {
        let names: Vec<String> = (0..results.len()).map(|i| format!("6.{i}")).collect();
        let results = results.into_iter().map(Some);
        let whole = matrix_of(names.iter().map(String::as_str).zip(results).collect());
        let mut parts: Vec<(String, Matrix)> = (1..=shards).map(|shard| {
            let mut part = whole.clone();
            part.shards = Some(shards);
            for (index, result) in part.results.iter_mut().enumerate() {
                if shard_of(index, shards) != shard {
                    *result = None;
                }
            }
            let parsed = parse(&rendered(&part, "json")).unwrap();
            prop_assert_eq!(&parsed, &part);
            Ok((shard.to_string(), parsed))
        }).collect::<Result<_, TestCaseError>>()?;
        let rotation = order.index(parts.len());
        parts.rotate_left(rotation);
        if order.index(2) == 1 {
            parts.reverse();
        }
        let merged = merge(parts.clone()).unwrap();
        prop_assert_eq!(forms(&merged), forms(&whole));
        prop_assert!(merged.missing_shards().is_empty());

        if parts.len() > 1 {
            let lost = parts.remove(lost_part.index(parts.len()));
            let incomplete = merge(parts).unwrap();
            let lost_number: usize = lost.0.parse().unwrap();
            let lost_is_empty = lost_number > whole.results.len();
            let missing = if lost_is_empty { vec![] } else { vec![lost_number] };
            prop_assert_eq!(incomplete.missing_shards(), missing);
            let incomplete = parse(&rendered(&incomplete, "json")).unwrap();
            let merged = merge(vec![lost, ("incomplete".to_owned(), incomplete)]).unwrap();
            prop_assert_eq!(forms(&merged), forms(&whole));
        }
    }

    /// Three parts that may overlap, each with arbitrary cells, are merged. Bit `n` of the mask of a cell
    /// is set if part `n` has its result.
    #[test]
    fn overlapping_parts_are_merged(
        results_and_masks in prop::collection::vec((any_result(), 1..8u8), 1..9),
    ) {
        let names: Vec<String> = (0..results_and_masks.len()).map(|i| format!("6.{i}")).collect();
        let results = results_and_masks.iter().map(|(result, _)| Some(result.clone()));
        let whole = matrix_of(names.iter().map(String::as_str).zip(results).collect());
        let part = |bit: u8| {
            let mut part = whole.clone();
            part.shards = Some(3);
            for (index, (_, mask)) in results_and_masks.iter().enumerate() {
                if mask & 1 << bit == 0 {
                    part.results[index] = None;
                }
            }
            (bit.to_string(), part)
        };
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let merged = merge(order.map(part).into()).unwrap();
            prop_assert_eq!(forms(&merged), forms(&whole));
        }
    }
}
