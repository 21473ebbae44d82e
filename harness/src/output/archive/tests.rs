// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::super::folder::RunFolder;
use super::*;
use sudbox_report::runs::RunKind;

fn run(cache: &Cache, summary: Option<(RunKind, u8)>) -> RunFolder {
    let folder = RunFolder::create(cache).unwrap();
    if let Some((kind, exit_code)) = summary {
        let (kernel, result) = ("6.12".to_owned(), "words".to_owned());
        let summary = Summary { kind, kernel, result, exit_code };
        folder.write(SUMMARY_FILE, serde_json::to_vec(&summary).unwrap()).unwrap();
    }
    folder
}

#[test]
fn failures_matrices_runs_in_use_and_the_newest_ten_stay() {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::open_at(root.path().to_owned()).unwrap();
    let unfinished_run = run(&cache, Some((RunKind::Run, 0)));
    let kept = [
        run(&cache, Some((RunKind::Run, 1))),
        run(&cache, Some((RunKind::Run, 125))),
        run(&cache, Some((RunKind::Matrix, 0))),
    ]
    .map(|run| run.path().to_owned());
    let removed = [run(&cache, Some((RunKind::Run, 0))), run(&cache, None)];
    let removed = removed.map(|run| run.path().to_owned());
    for _ in 0..=MAX_ORDINARY_RUNS {
        let _ = run(&cache, Some((RunKind::Bench, 0)));
    }
    assert!(kept.iter().all(|path| path.exists()));
    assert!(unfinished_run.path().exists());
    assert!(removed.iter().all(|path| !path.exists()));

    let list = run_list(&runs_folder(&cache));
    let numbers: Vec<usize> = list.runs.iter().map(|run| run.number).collect();
    assert_eq!(numbers, (1..=list.runs.len()).collect::<Vec<_>>());
    assert_eq!(list.runs.iter().filter(|run| run.summary.is_none()).count(), 0);

    let all = Duration::MAX;
    assert_eq!(prune(&runs_folder(&cache), Duration::ZERO, true).unwrap().len(), 0);
    let old = prune(&runs_folder(&cache), all, false).unwrap().len();
    assert_eq!(old, list.runs.len() - 1, "all runs but the unfinished one");
    assert_eq!(prune(&runs_folder(&cache), all, true).unwrap().len(), old);
    assert_eq!(archived_runs(&runs_folder(&cache)).len(), 1);
}

#[test]
fn the_record_keeps_its_newer_half() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("history.jsonl");
    let line = |n: u32| format!("{n:08} {}\n", "x".repeat(100_000));
    for n in 0..90 {
        append_line(&path, &line(n), Owner::default()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!((text.len() as u64) < MAX_RECORD_BYTES, "{}", text.len());
    assert!(text.ends_with(&line(89)) && text.lines().all(|line| line.len() == 100_009));
    assert!(text.lines().count() > 40);
}
